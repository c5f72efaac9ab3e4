/* SPDX-License-Identifier: MIT */
/*
 * The slot word: generation, pins and state of one slot, in 64 bits that lie
 * apart from the object, so that no stray write through an object can forge
 * one. Every transition is here, with the label it has in models/slot.pml.
 *
 *     63                        24 23          4 3      0
 *    +----------------------------+-------------+--------+
 *    |         generation         |    pins     | state  |
 *    +----------------------------+-------------+--------+
 *
 * A generation is one life of the object in the slot: it is 1 or more from the
 * first hand-out on, and each put ends one. The word 0 is a slot that nobody
 * was ever given since its slab was cut.
 *
 *              BIRTH              PUT, no pins
 *     EMPTY g --------> LIVE g -------------------> IDLE g+1 --- LETGO ---> EMPTY g+1
 *                       ^ ^ |                        |   ^ |
 *                  PIN  | | | PUT, pins              |   | | RETIRE (g+1 is past the last)
 *                 UNPIN +-+ v                        |   | v
 *                       | LEAVING g+1 --------- last UNPIN | RETIRED g+1
 *                       |  (BREAKING: discarded)     |
 *                       +--------- ISSUE ------------+
 *
 *                | may be done by                | others meanwhile
 *     -----------+-------------------------------+---------------------------
 *     BIRTH      | who claimed the slot (bin)    | only read the word
 *     ISSUE      | who holds the slot's magazine | only read the word
 *     LETGO      | who has the slot in hand      | only read the word
 *     RETIRE     | who has the slot in hand      | only read the word
 *     PUT        | anyone with the pointer       | race; one PUT wins, and each
 *     PIN        | anyone with a ref             | PIN or UNPIN happens before it
 *     UNPIN      | who has pinned                | or after it
 *
 * What can race is one compare-and-swap; all else is a load and a store.
 */
#ifndef TIDEP_ARENA_SLOT_H
#define TIDEP_ARENA_SLOT_H

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef _Atomic uint64_t tidep_word;

static_assert(sizeof(tidep_word) == 8, "a slot word is 8 bytes");

enum tidep_state {
	TIDEP_EMPTY = 0,   /* no object; the bytes are zero */
	TIDEP_IDLE = 1,    /* an object, reset: in one magazine, or in one hand */
	TIDEP_LIVE = 2,    /* an object with an owner outside */
	TIDEP_RETIRED = 3, /* out of generations: never handed out again */
	TIDEP_LEAVING = 4, /* put while pinned: the last unpin has it in hand */
	TIDEP_BREAKING = 5, /* the same, discarded */
};

#define TIDEP_STATE_MASK UINT64_C(0xf)
#define TIDEP_PIN_SHIFT 4
#define TIDEP_PIN_ONE (UINT64_C(1) << TIDEP_PIN_SHIFT)
#define TIDEP_PINS_MAX ((UINT64_C(1) << (TIDEP_GENERATION_SHIFT - TIDEP_PIN_SHIFT)) - 1)
#define TIDEP_GENERATION_SHIFT 24
#define TIDEP_GENERATION_ONE (UINT64_C(1) << TIDEP_GENERATION_SHIFT)
/* State and pins: what must read plain LIVE for a put on the fast path. */
#define TIDEP_STANDING_MASK (TIDEP_GENERATION_ONE - 1)

static inline enum tidep_state
tidep_arena_state(uint64_t word)
{
	return (enum tidep_state)(word & TIDEP_STATE_MASK);
}

static inline uint64_t
tidep_arena_pins(uint64_t word)
{
	return (word & (TIDEP_GENERATION_ONE - 1)) >> TIDEP_PIN_SHIFT;
}

static inline uint64_t
tidep_arena_generation(uint64_t word)
{
	return word >> TIDEP_GENERATION_SHIFT;
}

/* [SLOT_BIRTH] A fresh or emptied slot gets an owner. */
static inline void
tidep_arena_slot_birth(tidep_word *word, uint64_t first_generation)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t generation = tidep_arena_generation(was);

	if (generation == 0)
		generation = first_generation;
	atomic_store_explicit(word, generation << TIDEP_GENERATION_SHIFT | TIDEP_LIVE,
			      memory_order_relaxed);
}

/* [SLOT_ISSUE] An idle object out of the caller's magazine gets an owner. */
static inline void
tidep_arena_slot_issue(tidep_word *word)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, was + (TIDEP_LIVE - TIDEP_IDLE), memory_order_relaxed);
}

/*
 * Is the word LIVE, without pins, and below the last generation? One compare:
 * turned so that state and pins are on top, anything in them is too much.
 */
static inline bool
tidep_arena_can_put(uint64_t word, uint64_t last_generation)
{
	uint64_t rest = word - TIDEP_LIVE;

	return (rest >> TIDEP_GENERATION_SHIFT | rest << (64 - TIDEP_GENERATION_SHIFT)) <
	       last_generation;
}

/*
 * [SLOT_PUT] The owner's claim ends, and with it every ref of this generation.
 * `was` must be LIVE without pins. true: the caller has the slot in hand; false:
 * somebody else changed the word. Acquire and release, for whoever used the
 * object before and will after us.
 */
static inline bool
tidep_arena_slot_put(tidep_word *word, uint64_t was)
{
	uint64_t idle = was + TIDEP_GENERATION_ONE - (TIDEP_LIVE - TIDEP_IDLE);

	return atomic_compare_exchange_strong_explicit(word, &was, idle, memory_order_acq_rel,
						       memory_order_relaxed);
}

/* [SLOT_PUT_PINNED] The same while others have it pinned: the last of them has it then. */
static inline bool
tidep_arena_slot_put_pinned(tidep_word *word, uint64_t was, enum tidep_state leaving)
{
	uint64_t now = was + TIDEP_GENERATION_ONE + (uint64_t)(leaving - TIDEP_LIVE);

	return atomic_compare_exchange_strong_explicit(word, &was, now, memory_order_acq_rel,
						       memory_order_relaxed);
}

/*
 * [SLOT_PIN] Checks the generation and counts, in one step: while the word is
 * LIVE in this generation. Acquire: pairs with the release of whoever handed the
 * object out after the pin's ref was made; an earlier life's cannot be seen.
 * 0, -ESTALE or -EOVERFLOW.
 */
static inline int
tidep_arena_slot_pin(tidep_word *word, uint64_t generation)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	do {
		if (tidep_arena_generation(was) != generation ||
		    tidep_arena_state(was) != TIDEP_LIVE)
			return -ESTALE;
		if (tidep_arena_pins(was) == TIDEP_PINS_MAX)
			return -EOVERFLOW;
	} while (!atomic_compare_exchange_weak_explicit(word, &was, was + TIDEP_PIN_ONE,
							memory_order_acquire,
							memory_order_relaxed));
	return 0;
}

/*
 * [SLOT_UNPIN] One pin less; *was is what the word said before. The last unpin
 * of a slot that was put makes it IDLE, in the caller's hand. Release for the
 * last one to come, acquire for being it. false: there was no pin.
 */
static inline bool
tidep_arena_slot_unpin(tidep_word *word, uint64_t *was)
{
	uint64_t now;

	*was = atomic_load_explicit(word, memory_order_relaxed);
	do {
		if (tidep_arena_pins(*was) == 0)
			return false;
		now = *was - TIDEP_PIN_ONE;
		if (tidep_arena_pins(now) == 0 && tidep_arena_state(*was) != TIDEP_LIVE)
			now = (now & ~TIDEP_STATE_MASK) | TIDEP_IDLE;
	} while (!atomic_compare_exchange_weak_explicit(word, was, now, memory_order_acq_rel,
							memory_order_relaxed));
	return true;
}

/* [SLOT_RETIRE] The object in hand is gone, and its generations are used up. */
static inline void
tidep_arena_slot_retire(tidep_word *word)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, was + (TIDEP_RETIRED - TIDEP_IDLE), memory_order_relaxed);
}

/* [SLOT_LETGO] The object in hand is gone; its bytes are zero again. */
static inline void
tidep_arena_slot_letgo(tidep_word *word)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, was - (TIDEP_IDLE - TIDEP_EMPTY), memory_order_relaxed);
}

#endif
