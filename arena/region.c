/* SPDX-License-Identifier: MIT */
/*
 * Spaces, regions and granules. One lock for all of it: a claim happens once
 * for each slab, 64 KiB of objects at least.
 */
#include "config.h"

#include "arena/region.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "numa/osmem.h"
#include "numa/record.h"
#include "numa/topo.h"

#define MIB                ((size_t)1 << 20)
#define SPACE_BYTES_MAX    ((size_t)1 << 40)
#define REGION_BYTES_MIN   (64 * MIB) /* the largest object */
#define OPEN_BYTES         (32 * MIB) /* one mprotect opens so much */
#define OPEN_GRANULES      ((uint32_t)(OPEN_BYTES / TIDEP_GRANULE_BYTES))
#define LINE_BITS          64
#define RECORDS_SKEW       31 /* lines into the first page; see region.h */
#define RECORDS_SKEW_BYTES (RECORDS_SKEW * sizeof(struct tidep_granule))

static_assert(REGION_BYTES_MIN % OPEN_BYTES == 0, "regions open in whole steps");
static_assert(RECORDS_SKEW_BYTES < 4096, "the skew is within a page");

struct region {
	struct region *next; /* of the same node */
	struct tidep_space *space;
	uint32_t first;    /* granule, in the space */
	uint32_t granules; /* how many */
	uint32_t opened;   /* granules below this may be touched */
	uint32_t free;
	uint32_t search_from; /* no free granule below */
	uint64_t used[];      /* a bit a granule */
};

/* How far a space has been dealt out to regions. */
struct deal {
	uint32_t granules;        /* in the space */
	uint32_t region_granules; /* in a region */
	uint32_t dealt;
	_Atomic bool *is_open; /* by steps of OPEN_GRANULES; read without the lock */
};

struct tidep_space tidep_arena_spaces[TIDEP_SPACES_MAX];
_Atomic unsigned tidep_arena_space_count;

static pthread_mutex_t arena_lock = PTHREAD_MUTEX_INITIALIZER;
/* All below: the arena lock's. */
static struct deal deals[TIDEP_SPACES_MAX];
static struct region *regions[TIDEP_NODES_MAX + 1]; /* the last: interleaved */

/* Whole pages, with the skew. */
static size_t
records_bytes(size_t granules)
{
	size_t page = tidep_numa_page_bytes();

	return (RECORDS_SKEW_BYTES + granules * sizeof(struct tidep_granule) + page - 1) &
	       ~(page - 1);
}

static size_t
space_total_bytes(size_t objects_bytes)
{
	size_t granules = objects_bytes / TIDEP_GRANULE_BYTES;

	return objects_bytes + granules * TIDEP_GRANULE_WORD_BYTES + records_bytes(granules);
}

/* Lays out one more space, as large as the system gives. The lock is held. */
static int
add_space_locked(void)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_relaxed);
	size_t limit = tidep_numa_address_limit();
	uint32_t first_number = 0;
	size_t bytes = SPACE_BYTES_MAX;
	struct tidep_space *space;
	char *reservation = NULL;
	_Atomic bool *is_open;
	size_t words_bytes;
	char *records;

	if (n == TIDEP_SPACES_MAX)
		return -ENOMEM;
	space = &tidep_arena_spaces[n];
	if (n > 0)
		first_number = space[-1].first_number + deals[n - 1].granules;
	while (bytes / TIDEP_GRANULE_BYTES > TIDEP_NUMBERS_MAX + 1 - first_number)
		bytes /= 2;
	/* The very last number of all is kept free, and with it its region. */
	if (bytes <= REGION_BYTES_MIN &&
	    first_number + bytes / TIDEP_GRANULE_BYTES > TIDEP_NUMBERS_MAX)
		return -ENOMEM;
	/* Under RLIMIT_AS the addresses are the program's too: take a quarter. */
	while (space_total_bytes(bytes) > limit / 4 && bytes > REGION_BYTES_MIN)
		bytes /= 2;
	for (; bytes >= REGION_BYTES_MIN; bytes /= 2) {
		reservation = tidep_numa_reserve(space_total_bytes(bytes), 2 * MIB);
		if (reservation != NULL)
			break;
	}
	if (reservation == NULL)
		return -ENOMEM;
	/* Any pointer's granule record must be readable, opened or not. */
	words_bytes = bytes / TIDEP_GRANULE_BYTES * TIDEP_GRANULE_WORD_BYTES;
	records = reservation + bytes + words_bytes;
	is_open = tidep_numa_record_alloc(bytes / OPEN_BYTES * sizeof(*is_open));
	if (is_open == NULL ||
	    tidep_numa_expose(records, records_bytes(bytes / TIDEP_GRANULE_BYTES)) != 0) {
		tidep_numa_record_free(is_open);
		tidep_numa_unreserve(reservation, space_total_bytes(bytes));
		return -ENOMEM;
	}

	deals[n].granules = (uint32_t)(bytes / TIDEP_GRANULE_BYTES);
	deals[n].region_granules = deals[n].granules / 1024;
	if (deals[n].region_granules < REGION_BYTES_MIN / TIDEP_GRANULE_BYTES)
		deals[n].region_granules = REGION_BYTES_MIN / TIDEP_GRANULE_BYTES;
	deals[n].dealt = 0;
	deals[n].is_open = is_open;
	if (first_number + deals[n].granules > TIDEP_NUMBERS_MAX)
		deals[n].granules -= deals[n].region_granules;

	space->bytes = deals[n].granules * TIDEP_GRANULE_BYTES;
	space->first_number = first_number;
	space->base = reservation;
	space->words = reservation + bytes;
	space->granules = (struct tidep_granule *)(void *)(records + RECORDS_SKEW_BYTES);
	/* Release: look-ups read the count with acquire. */
	atomic_store_explicit(&tidep_arena_space_count, n + 1, memory_order_release);
	return 0;
}

int
tidep_arena_start(void)
{
	int err = 0;

	pthread_mutex_lock(&arena_lock);
	if (atomic_load_explicit(&tidep_arena_space_count, memory_order_relaxed) == 0)
		err = add_space_locked();
	pthread_mutex_unlock(&arena_lock);
	return err;
}

static unsigned
list_of(unsigned node)
{
	return node == TIDEP_NODE_INTERLEAVE ? TIDEP_NODES_MAX : node;
}

/* Deals the next part of some space to a node. The lock is held. */
static struct region *
add_region_locked(unsigned node)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_relaxed);
	struct region *region;
	struct deal *deal = NULL;
	size_t lines;

	for (unsigned i = 0; i < n && deal == NULL; i++)
		if (deals[i].granules - deals[i].dealt >= deals[i].region_granules)
			deal = &deals[i];
	if (deal == NULL) {
		if (add_space_locked() != 0)
			return NULL;
		deal = &deals[n];
		if (deal->granules == 0)
			return NULL;
	}
	lines = (deal->region_granules + LINE_BITS - 1) / LINE_BITS;
	region = tidep_numa_record_alloc(sizeof(*region) + lines * sizeof(region->used[0]));
	if (region == NULL)
		return NULL;
	region->space = &tidep_arena_spaces[deal - deals];
	region->first = deal->dealt;
	region->granules = deal->region_granules;
	region->free = region->granules;
	deal->dealt += deal->region_granules;
	tidep_numa_bind(region->space->base + (size_t)region->first * TIDEP_GRANULE_BYTES,
			(size_t)region->granules * TIDEP_GRANULE_BYTES, node);
	tidep_numa_bind(region->space->words + (size_t)region->first * TIDEP_GRANULE_WORD_BYTES,
			(size_t)region->granules * TIDEP_GRANULE_WORD_BYTES, node);
	/* Oldest first: what is full stays in front and is skipped by its count. */
	struct region **link = &regions[list_of(node)];
	while (*link != NULL)
		link = &(*link)->next;
	*link = region;
	return region;
}

/* Opens one more step of a region. The lock is held. */
static int
open_step_locked(struct region *region)
{
	struct tidep_space *space = region->space;
	size_t at = region->first + region->opened;
	size_t page = tidep_numa_page_bytes();
	uintptr_t from = (uintptr_t)&space->granules[at] & ~(page - 1);
	uintptr_t to = ((uintptr_t)&space->granules[at + OPEN_GRANULES] + page - 1) & ~(page - 1);

	char *words = space->words + at * TIDEP_GRANULE_WORD_BYTES;
	uintptr_t words_from = (uintptr_t)words & ~(page - 1);
	uintptr_t words_to =
		((uintptr_t)words + OPEN_GRANULES * TIDEP_GRANULE_WORD_BYTES + page - 1) &
		~(page - 1);

	/* Each may be repeated, so a failure in the middle costs nothing. */
	if (tidep_numa_open((void *)from, to - from) ||
	    tidep_numa_open((void *)words_from, words_to - words_from) ||
	    tidep_numa_open(space->base + at * TIDEP_GRANULE_BYTES, OPEN_BYTES))
		return -ENOMEM;
	region->opened += OPEN_GRANULES;
	atomic_store_explicit(&deals[space - tidep_arena_spaces].is_open[at / OPEN_GRANULES], true,
			      memory_order_release);
	return 0;
}

static bool
is_used(const struct region *region, uint32_t at)
{
	return region->used[at / LINE_BITS] >> at % LINE_BITS & 1;
}

/* The first run of `granules` free ones; region->granules: there is none. */
static uint32_t
find_run(struct region *region, uint32_t granules)
{
	uint32_t run = 0;
	uint32_t at = region->search_from;

	while (at < region->granules && is_used(region, at))
		at++;
	region->search_from = at;
	for (; at < region->granules; at++) {
		if (at % LINE_BITS == 0 && region->used[at / LINE_BITS] == UINT64_MAX) {
			run = 0;
			at += LINE_BITS - 1;
			continue;
		}
		run = is_used(region, at) ? 0 : run + 1;
		if (run == granules)
			return at + 1 - granules;
	}
	return region->granules;
}

/* 0 with *run; -ENOSPC: no such run here; -ENOMEM: here, but the system refused. */
static int
claim_in_region_locked(struct region *region, uint32_t granules, char **run)
{
	uint32_t at;

	if (region->free < granules)
		return -ENOSPC;
	at = find_run(region, granules);
	if (at == region->granules)
		return -ENOSPC;
	while (region->opened < at + granules)
		if (open_step_locked(region) != 0)
			return -ENOMEM;
	for (uint32_t i = at; i < at + granules; i++)
		region->used[i / LINE_BITS] |= UINT64_C(1) << i % LINE_BITS;
	region->free -= granules;
	*run = region->space->base + (size_t)(region->first + at) * TIDEP_GRANULE_BYTES;
	return 0;
}

char *
tidep_arena_claim(unsigned node, uint32_t granules, struct tidep_granule **granule)
{
	char *run = NULL;
	struct region *region;
	int err = -ENOSPC;

	pthread_mutex_lock(&arena_lock);
	for (region = regions[list_of(node)]; region != NULL && err == -ENOSPC;
	     region = region->next)
		err = claim_in_region_locked(region, granules, &run);
	if (err == -ENOSPC) {
		region = add_region_locked(node);
		if (region != NULL)
			err = claim_in_region_locked(region, granules, &run);
	}
	pthread_mutex_unlock(&arena_lock);
	if (run != NULL)
		*granule = tidep_arena_granule_of(run);
	return run;
}

void
tidep_arena_release(unsigned node, char *run, uint32_t granules, bool stranded)
{
	struct region *region;
	uint32_t at;

	pthread_mutex_lock(&arena_lock);
	for (region = regions[list_of(node)]; region != NULL; region = region->next) {
		char *base = region->space->base + (size_t)region->first * TIDEP_GRANULE_BYTES;

		if (run >= base && run < base + (size_t)region->granules * TIDEP_GRANULE_BYTES)
			break;
	}
	assert(region != NULL);
	at = (uint32_t)((size_t)(run - region->space->base) / TIDEP_GRANULE_BYTES) - region->first;
	for (uint32_t i = at + stranded; i < at + granules; i++)
		region->used[i / LINE_BITS] &= ~(UINT64_C(1) << i % LINE_BITS);
	region->free += granules - stranded;
	if (at < region->search_from)
		region->search_from = at;
	pthread_mutex_unlock(&arena_lock);
}

struct tidep_granule *
tidep_arena_granule_of_slow(const void *ptr)
{
	/* Acquire: pairs with the release in add_space_locked(). */
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct tidep_space *space = &tidep_arena_spaces[i];
		uintptr_t offset = (uintptr_t)ptr - (uintptr_t)space->base;

		if (offset < space->bytes)
			return &space->granules[offset >> TIDEP_GRANULE_SHIFT];
	}
	return NULL;
}

const struct tidep_space *
tidep_arena_space_of(const struct tidep_granule *granule)
{
	const struct tidep_space *space = tidep_arena_spaces;

	while ((uintptr_t)granule - (uintptr_t)space->granules >=
	       space->bytes / TIDEP_GRANULE_BYTES * sizeof(*granule))
		space++;
	return space;
}

struct tidep_granule *
tidep_arena_granule_numbered(uint64_t number)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct tidep_space *space = &tidep_arena_spaces[i];

		if (number - space->first_number < space->bytes >> TIDEP_GRANULE_SHIFT)
			return &space->granules[number - space->first_number];
	}
	return NULL;
}

struct tidep_granule *
tidep_arena_granule_next(uint64_t *cursor)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct tidep_space *space = &tidep_arena_spaces[i];
		uint64_t granules = space->bytes >> TIDEP_GRANULE_SHIFT;

		while (*cursor - space->first_number < granules) {
			uint64_t at = *cursor - space->first_number;
			_Atomic bool *is_open = &deals[i].is_open[at / OPEN_GRANULES];

			/* Acquire: pairs with the release as the step was opened. */
			if (atomic_load_explicit(is_open, memory_order_acquire)) {
				++*cursor;
				return &space->granules[at];
			}
			*cursor += OPEN_GRANULES - at % OPEN_GRANULES;
		}
	}
	return NULL;
}

uint64_t
tidep_arena_offset_of(const void *ptr)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct tidep_space *space = &tidep_arena_spaces[i];
		uintptr_t offset = (uintptr_t)ptr - (uintptr_t)space->base;

		if (offset < space->bytes)
			return ((uint64_t)space->first_number << TIDEP_GRANULE_SHIFT) + offset;
	}
	abort(); /* not an address of ours */
}

void *
tidep_arena_at(uint64_t offset)
{
	unsigned n = atomic_load_explicit(&tidep_arena_space_count, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		const struct tidep_space *space = &tidep_arena_spaces[i];
		uint64_t first = (uint64_t)space->first_number << TIDEP_GRANULE_SHIFT;

		if (offset - first < space->bytes)
			return space->base + (offset - first);
	}
	abort(); /* not an offset of ours */
}
