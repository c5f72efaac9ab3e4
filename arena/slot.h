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
 *              BIRTH              PUT
 *     EMPTY g --------> LIVE g ----------> IDLE g+1 --- LETGO ---> EMPTY g+1
 *                         ^ |                  |
 *                         | | RETIRE           |
 *                         | v                  |
 *                         | RETIRED            |
 *                         +------- ISSUE ------+
 *
 *                | may be done by                | others meanwhile
 *     -----------+-------------------------------+---------------------------
 *     BIRTH      | who claimed the slot (bin)    | only read the word
 *     ISSUE      | who holds the slot's magazine | only read the word
 *     LETGO      | who has the slot in hand      | only read the word
 *     PUT RETIRE | anyone with the pointer       | race; one of them wins
 *
 * Only PUT and RETIRE can race, and only with each other, so they are one
 * compare-and-swap and all else is a load and a store.
 */
#ifndef TIDEP_ARENA_SLOT_H
#define TIDEP_ARENA_SLOT_H

#include <assert.h>
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
};

#define TIDEP_STATE_MASK UINT64_C(0xf)
#define TIDEP_PIN_SHIFT 4
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
 * `was` must be LIVE without pins and below the last generation. true: the
 * caller has the slot in hand; false: somebody else changed the word.
 * Acquire and release, for whoever used the object before and will after us.
 */
static inline bool
tidep_arena_slot_put(tidep_word *word, uint64_t was)
{
	uint64_t idle = was + TIDEP_GENERATION_ONE - (TIDEP_LIVE - TIDEP_IDLE);

	return atomic_compare_exchange_strong_explicit(word, &was, idle, memory_order_acq_rel,
						       memory_order_relaxed);
}

/* [SLOT_RETIRE] The same for the last generation: the slot is used up. */
static inline bool
tidep_arena_slot_retire(tidep_word *word, uint64_t was)
{
	uint64_t retired = was + (TIDEP_RETIRED - TIDEP_LIVE);

	return atomic_compare_exchange_strong_explicit(word, &was, retired, memory_order_acq_rel,
						       memory_order_relaxed);
}

/* [SLOT_LETGO] The object in hand is gone; its bytes are zero again. */
static inline void
tidep_arena_slot_letgo(tidep_word *word)
{
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, was - (TIDEP_IDLE - TIDEP_EMPTY), memory_order_relaxed);
}

#endif
