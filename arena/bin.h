/* SPDX-License-Identifier: MIT */
/*
 * A bin: all slabs of one geometry on one node, behind one lock. Slots are
 * claimed from the fullest slab that has any, so that slabs which empty stay
 * empty and can be given back.
 *
 * Locks: a bin's lock is taken before the arena's and inside no other bin's,
 * except that the bins of magazines are used under the bin of their depot.
 */
#ifndef TIDEP_ARENA_BIN_H
#define TIDEP_ARENA_BIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/slab.h"

/* By how many of its slots are empty: all; more than 3/4, 1/2, 1/4, 0 of them; none. */
enum { TIDEP_LIST_EMPTY = 0, TIDEP_LIST_FULL = 5, TIDEP_LISTS = 6 };

struct tidep_bin {
	pthread_mutex_t lock;
	unsigned node;                  /* as tidep_arena_claim() takes it; fixed */
	bool keeps_slabs;               /* never gives their addresses to others; fixed */
	bool is_guarded;                /* what is not lent is shut, see arena/guard.h; fixed */
	struct tidep_geometry geometry; /* fixed */
	/* The lock's: */
	struct tidep_slab *lists[TIDEP_LISTS];
	_Atomic uint32_t slabs;           /* written with the lock, read without */
	_Atomic uint64_t committed_pages; /* the same */
};

/* Slots that were claimed together: neighbours in one slab. */
struct tidep_run {
	struct tidep_granule *granule;
	uint32_t first; /* slot index */
	uint32_t slots; /* 0: nothing */
};

/*
 * A bin that keeps its slabs decommits the ones that empty instead of destroying them.
 * It is not guarded; whoever lends objects out of it sets that before the first claim.
 */
void tidep_arena_bin_init(struct tidep_bin *bin, const struct tidep_geometry *geometry,
			  unsigned node, bool keeps_slabs);

/* Destroys every slab. No other thread may be using the bin. */
void tidep_arena_bin_fini(struct tidep_bin *bin);

/* Claims at most max empty slots. run->slots is 0 when there is no memory. */
void tidep_arena_bin_claim(struct tidep_bin *bin, uint32_t max, struct tidep_run *run);

/*
 * Takes claimed slots back, which hold no object and read zero. A slab that is
 * empty then is destroyed, unless it is the only such one.
 */
void tidep_arena_bin_release(struct tidep_bin *bin, const struct tidep_run *run);

/*
 * The slot of one object, whose object is gone and whose lives are used up, is
 * never claimed again. A slab that has no others, or hardly any, is destroyed.
 */
void tidep_arena_bin_retire(struct tidep_bin *bin, const struct tidep_granule *granule);

/* Has at least `slots` empty slots, their memory committed. 0 or -ENOMEM. */
int tidep_arena_bin_reserve(struct tidep_bin *bin, size_t slots);

/* Decommits what whole pages it can. Returns their bytes. */
size_t tidep_arena_bin_trim(struct tidep_bin *bin);

/* Bytes of its committed pages, and of its slabs' words. No lock. */
uint64_t tidep_arena_bin_committed(const struct tidep_bin *bin);
uint64_t tidep_arena_bin_word_bytes(const struct tidep_bin *bin);

/*
 * Makes the slot of one object, whose object is gone, read zero: very large
 * ones, and what is not used again, by giving their whole pages back. The caller
 * has the slot in hand.
 */
void tidep_arena_bin_clear(struct tidep_bin *bin, const struct tidep_granule *granule,
			   uint32_t slot, bool is_used_again);

static inline void *
tidep_arena_slot_at(const struct tidep_granule *granule, uint32_t slot)
{
	return tidep_arena_base_of(granule) + (size_t)slot * granule->stride;
}

#endif
