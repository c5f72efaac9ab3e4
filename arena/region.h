/* SPDX-License-Identifier: MIT */
/*
 * Addresses. A space is one reservation, normally a single one of 1 TiB; a
 * region is a part of a space that belongs to one NUMA node, opened forward
 * and never closed; a granule is 64 KiB of a region. Slabs are runs of
 * granules.
 *
 * A space lays three arrays side by side, indexed by the granule's number in
 * it, so that what belongs to an address is found by arithmetic and reading a
 * bogus pointer's granule never touches memory that may not be mapped:
 *
 *     | granules     | words              | objects                       |
 *     | 64 B each    | 36.7 KiB each      | 64 KiB each                   |
 *     | read-mostly  | a word a slot      | what users get pointers to    |
 *
 * The three must not keep step: an object, its word and its granule's record at
 * the same offset in a page, or at the same low 28 bits, made a hit take 37 ns
 * instead of 14 (false store forwarding, and the way predictor of the L1 cache).
 * So the records begin in the middle of a page, and the words of each granule
 * begin at another line of a page than the last one's.
 *
 * Granules are numbered over all spaces; a ref names a slab by the number of
 * its first granule, 24 bits, hence 1 TiB of objects in all.
 *
 *     call             | lock                | others meanwhile
 *     -----------------+---------------------+------------------------------
 *     claim, release   | the arena's, inside | each other, any look-up
 *     granule_of       | none                | anything
 *     offset_of, at    | none                | anything
 */
#ifndef TIDEP_ARENA_REGION_H
#define TIDEP_ARENA_REGION_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/slot.h"

#define TIDEP_GRANULE_SHIFT 16
#define TIDEP_GRANULE_BYTES (UINT64_C(1) << TIDEP_GRANULE_SHIFT)
#define TIDEP_STRIDE_MIN    16
#define TIDEP_GRANULE_SLOTS (TIDEP_GRANULE_BYTES / TIDEP_STRIDE_MIN)
/* From a granule's words to the next one's: never in one page of 4 KiB, 11 lines on in it. */
#define TIDEP_WORDS_GAP_BYTES 4096
#define TIDEP_GRANULE_WORD_BYTES                                                                   \
	(TIDEP_GRANULE_SLOTS * sizeof(tidep_word) + TIDEP_WORDS_GAP_BYTES + 11 * 64)
#define TIDEP_WORDS_FROM_BYTES (21 * 64) /* the first granule's */
#define TIDEP_NUMBER_BITS      24
#define TIDEP_NUMBERS_MAX      ((UINT32_C(1) << TIDEP_NUMBER_BITS) - 1)
#define TIDEP_SPACES_MAX       32

struct tidep_bin;
struct tidep_slab;

/*
 * What a pointer into a granule needs to know: one cache line, written only as
 * a slab is claimed and released. Every granule of a slab repeats it.
 */
struct tidep_granule {
	_Atomic(struct tidep_bin *) bin; /* whose slab; NULL = nobody's */
	_Atomic(char *) base;            /* the slab's first slot */
	_Atomic(tidep_word *) words;     /* the slab's first slot word */
	uint64_t reciprocal;             /* ceil(2^32 / stride) */
	uint32_t stride;                 /* bytes from slot to slot */
	uint32_t slots;                  /* in the slab */
	struct tidep_slab *slab;
	uint64_t first_life; /* of slot 0, when nobody was given it yet */
	/*
	 * The first granule's own, kept when the slab is gone: every life that
	 * was given out here is below it.
	 */
	uint64_t floor;
};

static_assert(sizeof(struct tidep_granule) == 64, "a granule record is one line");

struct tidep_space {
	char *base; /* of the objects */
	size_t bytes;
	struct tidep_granule *granules;
	char *words;
	uint32_t first_number;
};

/* Spaces only ever come; an entry below the count never changes. */
extern struct tidep_space tidep_arena_spaces[TIDEP_SPACES_MAX];
extern _Atomic unsigned tidep_arena_space_count;

/* Reserves the first space. Called once (or until it succeeds); 0 or -ENOMEM. */
int tidep_arena_start(void);

/*
 * Claims a run of granules on a node (or TIDEP_NODE_INTERLEAVE): open, bound,
 * and reading zero. NULL: no memory. *granule is the first one's record.
 */
char *tidep_arena_claim(unsigned node, uint32_t granules, struct tidep_granule **granule);

/*
 * Releases a run, its bytes and words zero again (decommitted). If stranded,
 * its first granule is never claimed again: its refs are used up.
 */
void tidep_arena_release(unsigned node, char *run, uint32_t granules, bool stranded);

struct tidep_granule *tidep_arena_granule_of_slow(const void *ptr);

/* The granule of a pointer into the first space; false for all others. */
static inline bool
tidep_arena_granule_in_first(const void *ptr, struct tidep_granule **granule)
{
	const struct tidep_space *space = &tidep_arena_spaces[0];
	uintptr_t offset = (uintptr_t)ptr - (uintptr_t)space->base;

	*granule = &space->granules[offset >> TIDEP_GRANULE_SHIFT];
	return __builtin_expect(offset < space->bytes, 1);
}

/* The granule of that number in the first space; false for all others. */
static inline bool
tidep_arena_granule_numbered_in_first(uint64_t number, struct tidep_granule **granule)
{
	const struct tidep_space *space = &tidep_arena_spaces[0];

	*granule = &space->granules[number];
	return __builtin_expect(number < space->bytes >> TIDEP_GRANULE_SHIFT, 1);
}

/* The granule of any number; NULL: it has none. */
struct tidep_granule *tidep_arena_granule_numbered(uint64_t number);

/*
 * Where the words of a slab that begins in this granule are: by arithmetic, so
 * that a stale ref reads no record that is being written. At another line of
 * the page for each granule, see above.
 */
static inline tidep_word *
tidep_arena_words_at(const struct tidep_space *space, size_t granule)
{
	return (tidep_word *)(void *)(space->words + TIDEP_WORDS_FROM_BYTES +
				      granule * TIDEP_GRANULE_WORD_BYTES);
}

static inline tidep_word *
tidep_arena_words_in(const struct tidep_space *space, const struct tidep_granule *granule)
{
	return tidep_arena_words_at(space, (size_t)(granule - space->granules));
}

static inline char *
tidep_arena_base_at(const struct tidep_space *space, size_t granule)
{
	return space->base + (granule << TIDEP_GRANULE_SHIFT);
}

static inline char *
tidep_arena_base_in(const struct tidep_space *space, const struct tidep_granule *granule)
{
	return tidep_arena_base_at(space, (size_t)(granule - space->granules));
}

/*
 * A walk over all granules that were ever opened, without a lock: 0 first, then
 * what the last call left in *cursor. NULL: the end.
 */
struct tidep_granule *tidep_arena_granule_next(uint64_t *cursor);

/* The granule of any pointer whatever; NULL outside every space. */
static inline struct tidep_granule *
tidep_arena_granule_of(const void *ptr)
{
	struct tidep_granule *granule;

	return tidep_arena_granule_in_first(ptr, &granule) ? granule
							   : tidep_arena_granule_of_slow(ptr);
}

/* Acquire: who sees a slab's bin sees the slab. NULL: the granule is in no slab. */
static inline struct tidep_bin *
tidep_arena_bin_of(const struct tidep_granule *granule)
{
	return atomic_load_explicit(&granule->bin, memory_order_acquire);
}

static inline tidep_word *
tidep_arena_words_of(const struct tidep_granule *granule)
{
	return atomic_load_explicit(&granule->words, memory_order_relaxed);
}

static inline char *
tidep_arena_base_of(const struct tidep_granule *granule)
{
	return atomic_load_explicit(&granule->base, memory_order_relaxed);
}

/* The space a granule record is in. */
const struct tidep_space *tidep_arena_space_of(const struct tidep_granule *granule);

/* An address inside some space as a number below 2^40, and back. */
uint64_t tidep_arena_offset_of(const void *ptr);
void *tidep_arena_at(uint64_t offset);

#endif
