/* SPDX-License-Identifier: MIT */
/*
 * A slab: one run of granules cut into equal slots.
 *
 *     objects:  base                                              base + bytes
 *               | slot 0 | slot 1 | slot 2 | ...  | slot n-1 | rest |
 *     words:    | word 0 | word 1 | word 2 | ...  | word n-1 |          (elsewhere)
 *     record:   which slots hold no object (`empty`), which pages of the
 *               objects are committed (`committed`)                     (elsewhere)
 *
 * A slot that is empty has zero bytes. A page whose slots are all empty may be
 * decommitted at any time; claiming a slot on it commits it again by touch.
 *
 * All functions: the caller holds the lock of the slab's bin, except that
 * create and destroy need none for a slab that is in no list yet or any more.
 */
#ifndef TIDEP_ARENA_SLAB_H
#define TIDEP_ARENA_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/guard.h"
#include "arena/region.h"

#define TIDEP_SLAB_BYTES_MIN TIDEP_GRANULE_BYTES
#define TIDEP_SLAB_BYTES_MAX (UINT64_C(4) << 20) /* unless one slot is larger */
#define TIDEP_SLAB_SLOTS     512                 /* wanted: their words fill a page */

/*
 * A ref: the number of the slab's first granule, 24 bits; then the life, 40 bits,
 * of which the slot's index takes as few as it can and the generation the rest.
 */
static_assert(TIDEP_NUMBER_BITS + TIDEP_LIFE_BITS == 64, "a ref is a number and a life");

/* How slots of one size lie in their slabs; the same for all slabs of a pool. */
struct tidep_geometry {
	uint32_t stride;
	uint32_t slots;
	uint32_t granules;
	unsigned index_bits; /* of a slot's index within a ref */
	uint64_t reciprocal; /* ceil(2^32 / stride) */
	uint64_t end_life;   /* lives from here on are the last of their slot */
	uint64_t used_up;    /* no slot is ever handed out from here on */
};

struct tidep_slab {
	struct tidep_slab *next, *prev; /* in one of the bin's lists */
	struct tidep_bin *bin;
	struct tidep_granule *granule; /* the first; the others follow */
	unsigned node;                 /* as tidep_arena_claim() takes it */
	unsigned list;                 /* which of the bin's */
	bool is_guarded;               /* its bin is; see arena/guard.h */
	uint32_t empties;              /* slots without an object, to be claimed */
	uint32_t retired;              /* slots out of generations */
	uint32_t pages;
	uint64_t *committed; /* a bit a page */
	uint64_t empty[];    /* a bit a slot */
};

/* Fills in the geometry of slots of at least bytes at align (a power of two). */
void tidep_arena_geometry(struct tidep_geometry *geometry, size_t bytes, size_t align);

/* A slab of empty slots that belongs to bin; NULL: no memory. */
struct tidep_slab *tidep_arena_slab_create(const struct tidep_geometry *geometry,
					   struct tidep_bin *bin, unsigned node);

/*
 * Gives its memory back. No slot may be live. Refs to its slots stay stale:
 * the floor goes above every life that was given out.
 */
void tidep_arena_slab_destroy(struct tidep_slab *slab, const struct tidep_geometry *geometry);

/*
 * Claims a run of at most max empty slots, lowest address first, which ends at
 * the end of a line of slot words where it can. Returns how many, *first the
 * first one's index, *pages how many pages were not committed before.
 */
uint32_t tidep_arena_slab_claim(struct tidep_slab *slab, uint32_t max, uint32_t *first,
				uint32_t *pages);

/* Takes claimed slots back; they hold no object and their bytes are zero. */
void tidep_arena_slab_release(struct tidep_slab *slab, uint32_t first, uint32_t slots);

/*
 * Is there nothing in it, and no reason to keep it? At least half of its slots
 * are used up: less would give its number away for a few of them.
 */
bool tidep_arena_slab_is_used_up(const struct tidep_slab *slab);

/* Notes that some pages are in memory, or are not; returns for how many that is news. */
uint32_t tidep_arena_slab_note(struct tidep_slab *slab, uint32_t first, uint32_t pages,
			       bool committed);

/* How many slots from the first one on there are up to the nth empty one, or the last. */
uint32_t tidep_arena_slab_reach(const struct tidep_slab *slab, size_t n);

/* Decommits the committed pages on which every slot is empty; returns how many. */
uint32_t tidep_arena_slab_trim(struct tidep_slab *slab);

/*
 * The pages that the words of a slab's first slots are on. They are no other slab's
 * where pages are of TIDEP_WORDS_GAP_BYTES at most.
 */
void tidep_arena_word_pages(const struct tidep_granule *granule, uint32_t slots, char **from,
			    size_t *bytes);

/* The ref of a life of a slot in the slab that begins in `first`. */
static inline uint64_t
tidep_arena_ref_in(const struct tidep_space *space, const struct tidep_granule *first,
		   uint64_t life)
{
	uint64_t number = space->first_number + (uint64_t)(first - space->granules);

	return number << TIDEP_LIFE_BITS | life;
}

/*
 * The ref of the present life of a word's slot, or of its last one; 0: it had
 * none. *generation is that life's. For reports: any granule of the slab will do.
 */
uint64_t tidep_arena_last_ref(const struct tidep_granule *granule, uint64_t word,
			      uint64_t *generation);

/*
 * Which slot an address is in, by multiplying with the reciprocal: exact for the
 * start of a slot, since offset * (reciprocal * stride - 2^32) < 2^32 * stride;
 * for other addresses it may be off by one, and their offset does not match.
 */
static inline uint32_t
tidep_arena_slot_around(const struct tidep_granule *granule, uint64_t offset)
{
	return (uint32_t)(offset * granule->reciprocal >> 32);
}

/*
 * The slot that starts at ptr, if its slab begins at base and has slots of this stride; false: none
 * does. In the rest behind the last slot it may find one, whose word always reads 0.
 * Needs no lock.
 */
static inline bool
tidep_arena_slot_from(const char *base, const void *ptr, uint64_t stride, uint64_t reciprocal,
		      uint64_t *slot)
{
	uint64_t offset = (uint64_t)((uintptr_t)ptr - (uintptr_t)base);

	*slot = (uint32_t)(offset * reciprocal >> 32);
	return __builtin_expect(*slot * stride == offset, 1);
}

/* The word of the slot that starts at ptr, whatever the slots' size; false: none does. */
static inline bool
tidep_arena_word_at(const struct tidep_granule *granule, const void *ptr, tidep_word **word)
{
	uint64_t slot;

	if (!tidep_arena_slot_from(tidep_arena_base_of(granule), ptr, granule->stride,
				   granule->reciprocal, &slot))
		return false;
	*word = tidep_arena_words_of(granule) + slot;
	return true;
}

/*
 * To be asked after the word and then the bin were read: is it still the word of the
 * slot at ptr? If the slab went meanwhile, and parts of it are another slab's now, the
 * word may be one of a third.
 */
static inline bool
tidep_arena_is_word_of(const struct tidep_granule *granule, const void *ptr, const tidep_word *word)
{
	tidep_word *now;

	return tidep_arena_word_at(granule, ptr, &now) && now == word;
}

#endif
