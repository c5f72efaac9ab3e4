/* SPDX-License-Identifier: MIT */
/*
 * Slabs: claiming and releasing slots, committing and decommitting pages, and
 * the generation floor that keeps old refs stale when the memory is gone.
 */
#include "config.h"

#include "arena/slab.h"

#include <string.h>

#include "numa/osmem.h"
#include "numa/record.h"

#define LINE_BITS    64u
#define WORDS_A_LINE 8u

/*
 * A debug build has few generations, so that tests see slots retire and
 * numbers used up.
 */
#ifdef TIDEP_DEBUG
#define GENERATION_BITS_MAX 10u
#else
#define GENERATION_BITS_MAX TIDEP_LIFE_BITS
#endif

static_assert(TIDEP_GRANULE_SLOTS <= 1u << 12, "a slot index has 12 bits at most");

static unsigned
index_bits_of(uint32_t slots)
{
	unsigned bits = 0;

	while (1u << bits < slots)
		bits++;
	return bits;
}

void
tidep_arena_geometry(struct tidep_geometry *geometry, size_t bytes, size_t align)
{
	uint64_t stride = bytes < TIDEP_STRIDE_MIN ? TIDEP_STRIDE_MIN : bytes;
	uint64_t slab_bytes = TIDEP_SLAB_BYTES_MIN;
	unsigned generation_bits;

	stride = (stride + align - 1) & ~(uint64_t)(align - 1);
	while (slab_bytes < stride * TIDEP_SLAB_SLOTS && slab_bytes < TIDEP_SLAB_BYTES_MAX)
		slab_bytes *= 2;
	if (slab_bytes < stride)
		slab_bytes = (stride + TIDEP_GRANULE_BYTES - 1) & ~(TIDEP_GRANULE_BYTES - 1);
	geometry->stride = (uint32_t)stride;
	geometry->slots = (uint32_t)(slab_bytes / stride);
	geometry->granules = (uint32_t)(slab_bytes / TIDEP_GRANULE_BYTES);
	geometry->reciprocal = ((UINT64_C(1) << 32) + stride - 1) / stride;
	geometry->index_bits = index_bits_of(geometry->slots);
	generation_bits = TIDEP_LIFE_BITS - geometry->index_bits;
	if (generation_bits > GENERATION_BITS_MAX)
		generation_bits = GENERATION_BITS_MAX;
	/* The highest one is what the last life's put leaves behind. */
	geometry->used_up = ((UINT64_C(1) << generation_bits) - 1) << geometry->index_bits;
	geometry->end_life = geometry->used_up - (UINT64_C(1) << geometry->index_bits);
}

uint64_t
tidep_arena_last_ref(const struct tidep_granule *granule, uint64_t word, uint64_t *generation)
{
	const struct tidep_granule *first = tidep_arena_granule_of(tidep_arena_base_of(granule));
	unsigned index_bits = index_bits_of(granule->slots);
	uint64_t life = tidep_arena_life(word);

	*generation = 0;
	if (word == 0)
		return 0;
	/* The put has raised it already. */
	if (tidep_arena_state(word) != TIDEP_LIVE)
		life -= UINT64_C(1) << index_bits;
	*generation = life >> index_bits;
	return tidep_arena_ref_in(tidep_arena_space_of(first), first, life);
}

static uint32_t
lines(uint32_t bits)
{
	return (bits + LINE_BITS - 1) / LINE_BITS;
}

/* Sets or clears n bits from first; returns how many were not so before. */
static uint32_t
change_bits(uint64_t *line, uint32_t first, uint32_t n, bool value)
{
	uint32_t changed = 0;

	while (n > 0) {
		uint32_t at = first % LINE_BITS;
		uint32_t here = LINE_BITS - at < n ? LINE_BITS - at : n;
		uint64_t mask = (here == LINE_BITS ? UINT64_MAX : (UINT64_C(1) << here) - 1) << at;
		uint64_t *bits = &line[first / LINE_BITS];
		uint64_t old = *bits;

		*bits = value ? old | mask : old & ~mask;
		changed += (uint32_t)__builtin_popcountll(old ^ *bits);
		first += here;
		n -= here;
	}
	return changed;
}

/* The first bit from `from` on that is `value`, below end; or end. */
static uint32_t
find_bit(const uint64_t *line, uint32_t from, uint32_t end, bool value)
{
	while (from < end) {
		uint64_t bits = line[from / LINE_BITS];

		if (!value)
			bits = ~bits;
		bits >>= from % LINE_BITS;
		if (bits != 0) {
			from += (uint32_t)__builtin_ctzll(bits);
			return from < end ? from : end;
		}
		from = (from / LINE_BITS + 1) * LINE_BITS;
	}
	return end;
}

void
tidep_arena_word_pages(const struct tidep_granule *granule, uint32_t slots, char **from,
		       size_t *bytes)
{
	size_t page = tidep_numa_page_bytes();
	uintptr_t first = (uintptr_t)tidep_arena_words_of(granule) & ~(page - 1);
	uintptr_t end =
		((uintptr_t)(tidep_arena_words_of(granule) + slots) + page - 1) & ~(page - 1);

	*from = (char *)first;
	*bytes = end - first;
}

struct tidep_slab *
tidep_arena_slab_create(const struct tidep_geometry *geometry, struct tidep_bin *bin, unsigned node)
{
	size_t bytes = geometry->granules * TIDEP_GRANULE_BYTES;
	uint32_t pages = (uint32_t)(bytes / tidep_numa_page_bytes());
	struct tidep_granule *granule;
	struct tidep_slab *slab;
	tidep_word *words;
	char *run;

	slab = tidep_numa_record_alloc(sizeof(*slab) + (lines(geometry->slots) + lines(pages)) *
							       sizeof(slab->empty[0]));
	if (slab == NULL)
		return NULL;
	/*
	 * A number whose generations are half used up is given up for good: its
	 * slots would retire too soon. That strands 64 KiB of addresses, and
	 * no memory.
	 */
	while ((run = tidep_arena_claim(node, geometry->granules, &granule)) != NULL &&
	       granule->floor > geometry->used_up / 2)
		tidep_arena_release(node, run, geometry->granules, true);
	if (run == NULL) {
		tidep_numa_record_free(slab);
		return NULL;
	}
	slab->bin = bin;
	slab->granule = granule;
	slab->node = node;
	slab->pages = pages;
	slab->empties = geometry->slots;
	slab->committed = slab->empty + lines(geometry->slots);
	change_bits(slab->empty, 0, geometry->slots, true);

	words = tidep_arena_words_in(tidep_arena_space_of(granule), granule);
	for (uint32_t i = 0; i < geometry->granules; i++) {
		struct tidep_granule *g = &granule[i];

		atomic_store_explicit(&g->base, run, memory_order_relaxed);
		atomic_store_explicit(&g->words, words, memory_order_relaxed);
		g->reciprocal = geometry->reciprocal;
		g->stride = geometry->stride;
		g->slots = geometry->slots;
		g->slab = slab;
		/* Above every life there ever was here, whatever sizes its slots had. */
		g->first_life = ((granule->floor >> geometry->index_bits) + 1)
				<< geometry->index_bits;
		/* [SLAB_CUT] Release: a look-up that sees the bin sees the rest. */
		atomic_store_explicit(&g->bin, bin, memory_order_release);
	}
	return slab;
}

/* Above every life that any slot's word speaks of; 0: there was none. */
static uint64_t
find_floor(const struct tidep_slab *slab)
{
	const struct tidep_granule *granule = slab->granule;
	tidep_word *words = tidep_arena_words_of(granule);
	uint64_t highest = 0;

	for (uint32_t i = 0; i < granule->slots; i++) {
		uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);

		if (word > highest)
			highest = word;
	}
	return highest == 0 ? 0 : tidep_arena_life(highest) + 1;
}

/* Makes the words read 0. Others may be at them, with a compare-and-swap that fails. */
static void
drop_words(const struct tidep_granule *granule)
{
	tidep_word *words = tidep_arena_words_of(granule);
	size_t bytes;
	char *from;

	if (tidep_numa_page_bytes() <= TIDEP_WORDS_GAP_BYTES) {
		tidep_arena_word_pages(granule, granule->slots, &from, &bytes);
		tidep_numa_decommit(from, bytes);
		return;
	}
	/* On larger pages the neighbours' words are on them too. */
	for (uint32_t i = 0; i < granule->slots; i++)
		atomic_store_explicit(&words[i], 0, memory_order_relaxed);
}

void
tidep_arena_slab_destroy(struct tidep_slab *slab, const struct tidep_geometry *geometry)
{
	struct tidep_granule *granule = slab->granule;
	uint64_t floor = find_floor(slab);
	size_t page = tidep_numa_page_bytes();

	/*
	 * [SLAB_DROP] Whoever still gets this far with a ref finds no bin; or, having
	 * seen it before, a word that reads 0, or one of a slab above the floor.
	 */
	for (uint32_t i = 0; i < geometry->granules; i++)
		atomic_store_explicit(&granule[i].bin, NULL, memory_order_relaxed);
	if (floor > 0)
		granule->floor = floor;
	/* Where no slot was ever handed out too: a reserve may have put them in memory. */
	drop_words(granule);
	if (slab->is_guarded)
		tidep_arena_guard_open(tidep_arena_base_of(granule), slab->pages * page);
	/* Runs of committed pages, so that untouched addresses cost no call. */
	for (uint32_t from = 0, to;; from = to) {
		from = find_bit(slab->committed, from, slab->pages, true);
		if (from == slab->pages)
			break;
		to = find_bit(slab->committed, from, slab->pages, false);
		tidep_numa_decommit(tidep_arena_base_of(granule) + from * page, (to - from) * page);
	}
	tidep_arena_release(slab->node, tidep_arena_base_of(granule), geometry->granules, false);
	tidep_numa_record_free(slab);
}

/* The pages that a run of slots touches. */
static void
pages_of(const struct tidep_slab *slab, uint32_t first, uint32_t slots, uint32_t *from,
	 uint32_t *to)
{
	size_t page = tidep_numa_page_bytes();
	size_t stride = slab->granule->stride;

	*from = (uint32_t)(first * stride / page);
	*to = (uint32_t)(((first + slots) * stride + page - 1) / page);
}

uint32_t
tidep_arena_slab_claim(struct tidep_slab *slab, uint32_t max, uint32_t *first, uint32_t *pages)
{
	uint32_t all = slab->granule->slots;
	uint32_t from = find_bit(slab->empty, 0, all, true);
	uint32_t limit = all - from < max ? all : from + max;
	uint32_t to = find_bit(slab->empty, from, limit, false);
	uint32_t line_end = to & ~(WORDS_A_LINE - 1);
	uint32_t page_from, page_to;

	if (to == limit && line_end > from)
		to = line_end;
	change_bits(slab->empty, from, to - from, false);
	slab->empties -= to - from;
	pages_of(slab, from, to - from, &page_from, &page_to);
	*pages = change_bits(slab->committed, page_from, page_to - page_from, true);
	*first = from;
	return to - from;
}

void
tidep_arena_slab_release(struct tidep_slab *slab, uint32_t first, uint32_t slots)
{
	uint32_t changed = change_bits(slab->empty, first, slots, true);

	assert(changed == slots);
	slab->empties += changed;
}

bool
tidep_arena_slab_is_used_up(const struct tidep_slab *slab)
{
	uint32_t slots = slab->granule->slots;

	return slab->empties + slab->retired == slots && slab->retired >= (slots + 1) / 2;
}

uint32_t
tidep_arena_slab_note(struct tidep_slab *slab, uint32_t first, uint32_t pages, bool committed)
{
	return change_bits(slab->committed, first, pages, committed);
}

uint32_t
tidep_arena_slab_reach(const struct tidep_slab *slab, size_t n)
{
	uint32_t all = slab->granule->slots;
	uint32_t to = 0;

	while (n > 0 && to < all) {
		uint32_t from = find_bit(slab->empty, to, all, true);

		to = find_bit(slab->empty, from, all, false);
		if (to - from >= n)
			return from + (uint32_t)n;
		n -= to - from;
	}
	return to;
}

/* Pages on which every slot is empty. Where the kernel refuses they are cleared by hand. */
static void
decommit_pages(struct tidep_slab *slab, uint32_t from, uint32_t to)
{
	size_t page = tidep_numa_page_bytes();
	char *at = tidep_arena_base_of(slab->granule) + from * page;
	size_t bytes = (to - from) * page;

	if (slab->is_guarded)
		tidep_arena_guard_open(at, bytes);
	tidep_numa_decommit(at, bytes);
	if (slab->is_guarded)
		tidep_arena_guard_shut(at, bytes);
}

uint32_t
tidep_arena_slab_trim(struct tidep_slab *slab)
{
	uint32_t all = slab->granule->slots;
	size_t page = tidep_numa_page_bytes();
	size_t stride = slab->granule->stride;
	uint32_t trimmed = 0;

	/* Each run of empty slots, and the whole pages inside it. */
	for (uint32_t from = 0, to; from < all; from = to) {
		uint32_t page_from, page_to, at, end;

		from = find_bit(slab->empty, from, all, true);
		to = find_bit(slab->empty, from, all, false);
		page_from = (uint32_t)((from * stride + page - 1) / page);
		page_to = to == all ? slab->pages : (uint32_t)(to * stride / page);
		for (at = page_from; at < page_to; at = end) {
			at = find_bit(slab->committed, at, page_to, true);
			end = find_bit(slab->committed, at, page_to, false);
			if (at == end)
				break;
			decommit_pages(slab, at, end);
			trimmed += change_bits(slab->committed, at, end - at, false);
		}
	}
	return trimmed;
}
