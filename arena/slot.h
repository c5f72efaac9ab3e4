/* SPDX-License-Identifier: MIT */
/*
 * The slot word: which life the slot is in, pins and state, in 64 bits that lie
 * apart from the object, so that no stray write through an object can forge
 * one. Every transition is here, with the label it has in models/slot.pml.
 *
 *     63             |           24 23          4 3      0
 *    +---------------+-------------+-------------+--------+
 *    | generation    | slot index  |    pins     | state  |
 *    +---------------+-------------+-------------+--------+
 *     `---- the low 40 bits of ----'
 *           the object's ref: `life`
 *
 * A generation is one life of the object in the slot: it is 1 or more from the
 * first hand-out on, and each put ends one. The word 0 is a slot that nobody
 * was ever given since its slab was cut. Where the index ends and the generation
 * begins is the slab's affair; the word holds both, and a slab starts above all
 * that its addresses ever had, so no word but 0 ever comes back in one place.
 * That is what lets a compare-and-swap judge by the word alone: who looked at
 * the slab and was then held up cannot take its successor's slot for it.
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
 *     PIN        | anyone with a ref, a walk     | PIN or UNPIN happens before it
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
	TIDEP_EMPTY = 0,    /* no object; the bytes are zero */
	TIDEP_IDLE = 1,     /* an object, reset: in one magazine, or in one hand */
	TIDEP_LIVE = 2,     /* an object with an owner outside */
	TIDEP_RETIRED = 3,  /* out of generations: never handed out again */
	TIDEP_LEAVING = 4,  /* put while pinned: the last unpin has it in hand */
	TIDEP_BREAKING = 5, /* the same, discarded */
};

#define TIDEP_STATE_MASK UINT64_C(0xf)
#define TIDEP_PIN_SHIFT  4
#define TIDEP_PIN_ONE    (UINT64_C(1) << TIDEP_PIN_SHIFT)
#define TIDEP_LIFE_SHIFT 24
#define TIDEP_LIFE_BITS  (64u - TIDEP_LIFE_SHIFT)
/* State and pins: what must read plain LIVE for a put on the fast path. */
#define TIDEP_STANDING_MASK ((UINT64_C(1) << TIDEP_LIFE_SHIFT) - 1)
#define TIDEP_PINS_MAX      ((UINT64_C(1) << (TIDEP_LIFE_SHIFT - TIDEP_PIN_SHIFT)) - 1)
/* The last pins are kept for walks, so that no number of callers' can hold one up. */
#define TIDEP_PINS_KEPT 1024u

static inline enum tidep_state
tidep_arena_state(uint64_t word)
{
	return (enum tidep_state)(word & TIDEP_STATE_MASK);
}

static inline uint64_t
tidep_arena_pins(uint64_t word)
{
	return (word & TIDEP_STANDING_MASK) >> TIDEP_PIN_SHIFT;
}

static inline uint64_t
tidep_arena_life(uint64_t word)
{
	return word >> TIDEP_LIFE_SHIFT;
}

/*
 * What a put adds to a LIVE word without pins: one generation, where the index
 * has so many bits, and the step from LIVE to IDLE.
 */
static inline uint64_t
tidep_arena_put_step(unsigned index_bits)
{
	return (UINT64_C(1) << (TIDEP_LIFE_SHIFT + index_bits)) - (TIDEP_LIVE - TIDEP_IDLE);
}

/* The life that begins when an empty or idle slot in hand is handed out. */
static inline uint64_t
tidep_arena_life_to_come(const tidep_word *word, uint64_t first_life)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	return was != 0 ? tidep_arena_life(was) : first_life;
}

/*
 * [SLOT_BIRTH] A fresh or emptied slot gets an owner. first_life: of a fresh one.
 * Release: who sees LIVE in a word sees whose slab it is in.
 */
static inline void
tidep_arena_slot_birth(tidep_word *word, uint64_t first_life)
{
	uint64_t life = tidep_arena_life_to_come(word, first_life);

	atomic_store_explicit(word, life << TIDEP_LIFE_SHIFT | TIDEP_LIVE, memory_order_release);
}

/*
 * [SLOT_ISSUE] An idle object out of the caller's magazine, whose word says `was`,
 * gets an owner. Release, as the birth: a walk pins what it finds LIVE, and nobody
 * gave it the ref. Without it the walk could see bytes of the life before.
 */
static inline void
tidep_arena_slot_issue(tidep_word *word, uint64_t was)
{
	atomic_store_explicit(word, was + (TIDEP_LIVE - TIDEP_IDLE), memory_order_release);
}

/*
 * Is the word LIVE, without pins, and of a life below end? One compare: turned
 * so that state and pins are on top, anything in them is too much.
 */
static inline bool
tidep_arena_can_put(uint64_t word, uint64_t end)
{
	uint64_t rest = word - TIDEP_LIVE;

	return (rest >> TIDEP_LIFE_SHIFT | rest << TIDEP_LIFE_BITS) < end;
}

/*
 * [SLOT_PUT] The owner's claim ends, and with it every ref of this generation.
 * `was` must be LIVE without pins. true: the caller has the slot in hand; false:
 * somebody else changed the word. Acquire and release, for whoever used the
 * object before and will after us.
 */
static inline bool
tidep_arena_slot_put(tidep_word *word, uint64_t was, uint64_t put_step)
{
	return atomic_compare_exchange_strong_explicit(word, &was, was + put_step,
						       memory_order_acq_rel, memory_order_relaxed);
}

/* [SLOT_PUT_PINNED] The same while others have it pinned: the last of them has it then. */
static inline bool
tidep_arena_slot_put_pinned(tidep_word *word, uint64_t was, uint64_t put_step,
			    enum tidep_state leaving)
{
	uint64_t now = was + put_step + (uint64_t)(leaving - TIDEP_IDLE);

	return atomic_compare_exchange_strong_explicit(word, &was, now, memory_order_acq_rel,
						       memory_order_relaxed);
}

/*
 * [SLOT_PIN] Checks the life and counts, in one step: while the word is LIVE in
 * just this one, below max pins. Acquire: pairs with the release of whoever handed
 * the object out (BIRTH, ISSUE); an earlier life's cannot be seen.
 * 0, -ESTALE or -EOVERFLOW.
 */
static inline int
tidep_arena_slot_pin(tidep_word *word, uint64_t life, uint64_t max)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	do {
		if (tidep_arena_life(was) != life || tidep_arena_state(was) != TIDEP_LIVE)
			return -ESTALE;
		if (tidep_arena_pins(was) >= max)
			return -EOVERFLOW;
	} while (!atomic_compare_exchange_weak_explicit(
		word, &was, was + TIDEP_PIN_ONE, memory_order_acquire, memory_order_relaxed));
	return 0;
}

/*
 * [SLOT_PIN_LIVE] What a walk looks at before it pins that very life, and if it is
 * one: then whose slab it is in may be asked. Acquire: pairs with the release of
 * SLOT_BIRTH. If the slab goes meanwhile the word does too, and the pin fails.
 */
static inline bool
tidep_arena_slot_look(tidep_word *word, uint64_t *life)
{
	uint64_t was = atomic_load_explicit(word, memory_order_acquire);

	*life = tidep_arena_life(was);
	return tidep_arena_state(was) == TIDEP_LIVE;
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
