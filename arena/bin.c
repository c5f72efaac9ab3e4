/* SPDX-License-Identifier: MIT */
/*
 * Bins: which slab the next slot comes from.
 */
#include "config.h"

#include "arena/bin.h"

#include <errno.h>
#include <string.h>

#include "numa/osmem.h"

/*
 * Clearing a page costs 60 ns, one that faults again 2.4 us: only what is so
 * large that it may well never be used again goes back at once.
 */
#define CLEAR_BYTES_MAX ((size_t)1 << 20)

void
tidep_arena_bin_init(struct tidep_bin *bin, const struct tidep_geometry *geometry, unsigned node,
		     bool keeps_slabs)
{
	pthread_mutex_init(&bin->lock, NULL);
	bin->node = node;
	bin->keeps_slabs = keeps_slabs;
	bin->is_guarded = false;
	bin->geometry = *geometry;
	memset(bin->lists, 0, sizeof(bin->lists));
	bin->slabs = 0;
	bin->committed_pages = 0;
}

void
tidep_arena_bin_fini(struct tidep_bin *bin)
{
	for (unsigned i = 0; i < TIDEP_LISTS; i++) {
		while (bin->lists[i] != NULL) {
			struct tidep_slab *slab = bin->lists[i];

			bin->lists[i] = slab->next;
			tidep_arena_slab_destroy(slab, &bin->geometry);
		}
	}
	pthread_mutex_destroy(&bin->lock);
}

static unsigned
list_of(const struct tidep_slab *slab, const struct tidep_geometry *geometry)
{
	uint32_t empties = slab->empties;

	if (empties == 0)
		return TIDEP_LIST_FULL;
	if (empties == geometry->slots)
		return TIDEP_LIST_EMPTY;
	/* 1 .. slots-1 empties: list 4 (fullest) .. 1 */
	return 4 - (unsigned)((uint64_t)(empties - 1) * 4 / geometry->slots);
}

static void
link_slab_locked(struct tidep_bin *bin, struct tidep_slab *slab)
{
	slab->list = list_of(slab, &bin->geometry);
	slab->prev = NULL;
	slab->next = bin->lists[slab->list];
	if (slab->next != NULL)
		slab->next->prev = slab;
	bin->lists[slab->list] = slab;
}

static void
unlink_slab_locked(struct tidep_bin *bin, struct tidep_slab *slab)
{
	if (slab->prev != NULL)
		slab->prev->next = slab->next;
	else
		bin->lists[slab->list] = slab->next;
	if (slab->next != NULL)
		slab->next->prev = slab->prev;
}

static void
relink_slab_locked(struct tidep_bin *bin, struct tidep_slab *slab)
{
	if (list_of(slab, &bin->geometry) == slab->list)
		return;
	unlink_slab_locked(bin, slab);
	link_slab_locked(bin, slab);
}

static struct tidep_slab *
add_slab_locked(struct tidep_bin *bin)
{
	struct tidep_slab *slab = tidep_arena_slab_create(&bin->geometry, bin, bin->node);

	if (slab == NULL)
		return NULL;
	slab->is_guarded = bin->is_guarded;
	if (bin->is_guarded)
		tidep_arena_guard_shut(tidep_arena_base_of(slab->granule),
				       bin->geometry.granules * TIDEP_GRANULE_BYTES);
	bin->slabs++;
	link_slab_locked(bin, slab);
	return slab;
}

void
tidep_arena_bin_claim(struct tidep_bin *bin, uint32_t max, struct tidep_run *run)
{
	struct tidep_slab *slab = NULL;
	uint32_t pages;

	run->slots = 0;
	pthread_mutex_lock(&bin->lock);
	for (unsigned list = TIDEP_LIST_FULL; list-- > 0 && slab == NULL;)
		slab = bin->lists[list];
	if (slab == NULL)
		slab = add_slab_locked(bin);
	if (slab != NULL) {
		run->granule = slab->granule;
		run->slots = tidep_arena_slab_claim(slab, max, &run->first, &pages);
		bin->committed_pages += pages;
		relink_slab_locked(bin, slab);
	}
	pthread_mutex_unlock(&bin->lock);
}

static uint32_t
count_bits(const uint64_t *line, uint32_t bits)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < (bits + 63) / 64; i++)
		count += (uint32_t)__builtin_popcountll(line[i]);
	return count;
}

/* A slab has one slot less in use. Returns it if it is to be destroyed; it is in no list then. */
static struct tidep_slab *
settle_slab_locked(struct tidep_bin *bin, struct tidep_slab *slab)
{
	bool is_spare =
		slab->empties == bin->geometry.slots && bin->lists[TIDEP_LIST_EMPTY] != NULL;

	if ((is_spare && !bin->keeps_slabs) || tidep_arena_slab_is_used_up(slab)) {
		unlink_slab_locked(bin, slab);
		bin->slabs--;
		bin->committed_pages -= count_bits(slab->committed, slab->pages);
		return slab;
	}
	if (is_spare)
		bin->committed_pages -= tidep_arena_slab_trim(slab);
	relink_slab_locked(bin, slab);
	return NULL;
}

void
tidep_arena_bin_release(struct tidep_bin *bin, const struct tidep_run *run)
{
	struct tidep_slab *slab = run->granule->slab;
	struct tidep_slab *gone;

	pthread_mutex_lock(&bin->lock);
	tidep_arena_slab_release(slab, run->first, run->slots);
	gone = settle_slab_locked(bin, slab);
	pthread_mutex_unlock(&bin->lock);
	if (gone != NULL)
		tidep_arena_slab_destroy(gone, &bin->geometry);
}

void
tidep_arena_bin_retire(struct tidep_bin *bin, const struct tidep_granule *granule)
{
	struct tidep_slab *slab = granule->slab;
	struct tidep_slab *gone;

	pthread_mutex_lock(&bin->lock);
	slab->retired++;
	gone = settle_slab_locked(bin, slab);
	pthread_mutex_unlock(&bin->lock);
	if (gone != NULL)
		tidep_arena_slab_destroy(gone, &bin->geometry);
}

/* Commits as many empty slots of a slab as are wanted; returns how many, or -ENOMEM. */
static int64_t
commit_slab_locked(struct tidep_bin *bin, struct tidep_slab *slab, size_t wanted)
{
	size_t page = tidep_numa_page_bytes();
	uint32_t slots = tidep_arena_slab_reach(slab, wanted);
	size_t bytes = ((size_t)slots * bin->geometry.stride + page - 1) & ~(page - 1);
	size_t words_bytes;
	char *words;

	/* First, for where it fails half way: what is in memory is to be given back some day. */
	bin->committed_pages += tidep_arena_slab_note(slab, 0, (uint32_t)(bytes / page), true);
	tidep_arena_word_pages(slab->granule, slots, &words, &words_bytes);
	if (tidep_numa_populate(tidep_arena_base_of(slab->granule), bytes) != 0 ||
	    tidep_numa_populate(words, words_bytes) != 0)
		return -ENOMEM;
	return slab->empties < wanted ? slab->empties : (int64_t)wanted;
}

int
tidep_arena_bin_reserve(struct tidep_bin *bin, size_t slots)
{
	size_t empties = 0;
	int err = 0;

	/* More than the machine has would only wake the system's killer. */
	if (slots > tidep_numa_memory_bytes() / bin->geometry.stride)
		return -ENOMEM;
	/*
	 * All under the lock: populating is what would otherwise be done by
	 * page faults, and the slabs must not be destroyed meanwhile.
	 */
	pthread_mutex_lock(&bin->lock);
	for (unsigned list = 0; list < TIDEP_LIST_FULL; list++)
		for (struct tidep_slab *slab = bin->lists[list]; slab != NULL; slab = slab->next)
			empties += slab->empties;
	while (empties < slots && err == 0) {
		if (add_slab_locked(bin) != NULL)
			empties += bin->geometry.slots;
		else
			err = -ENOMEM;
	}
	/* In the order in which slots are claimed. */
	for (unsigned list = TIDEP_LIST_FULL; list-- > 0 && err == 0;) {
		struct tidep_slab *slab = bin->lists[list];

		for (; slab != NULL && err == 0 && slots > 0; slab = slab->next) {
			int64_t done = commit_slab_locked(bin, slab, slots);

			if (done < 0)
				err = (int)done;
			else
				slots -= (size_t)done;
		}
	}
	pthread_mutex_unlock(&bin->lock);
	return err;
}

size_t
tidep_arena_bin_trim(struct tidep_bin *bin)
{
	uint64_t pages = 0;

	pthread_mutex_lock(&bin->lock);
	for (unsigned list = 0; list < TIDEP_LIST_FULL; list++)
		for (struct tidep_slab *slab = bin->lists[list]; slab != NULL; slab = slab->next)
			pages += tidep_arena_slab_trim(slab);
	bin->committed_pages -= pages;
	pthread_mutex_unlock(&bin->lock);
	return pages * tidep_numa_page_bytes();
}

uint64_t
tidep_arena_bin_committed(const struct tidep_bin *bin)
{
	return atomic_load_explicit(&bin->committed_pages, memory_order_relaxed) *
	       tidep_numa_page_bytes();
}

uint64_t
tidep_arena_bin_word_bytes(const struct tidep_bin *bin)
{
	size_t page = tidep_numa_page_bytes();
	uint64_t bytes = bin->geometry.slots * sizeof(tidep_word);

	return atomic_load_explicit(&bin->slabs, memory_order_relaxed) *
	       ((bytes + page - 1) & ~(uint64_t)(page - 1));
}

static void
clear_slot(struct tidep_bin *bin, const struct tidep_granule *granule, uint32_t slot,
	   bool is_used_again)
{
	size_t page = tidep_numa_page_bytes();
	size_t stride = bin->geometry.stride;
	char *object = tidep_arena_slot_at(granule, slot);
	char *from, *to;

	if (stride < (is_used_again ? CLEAR_BYTES_MAX : page)) {
		memset(object, 0, stride);
		return;
	}
	from = (char *)(((uintptr_t)object + page - 1) & ~(uintptr_t)(page - 1));
	to = (char *)((uintptr_t)(object + stride) & ~(uintptr_t)(page - 1));
	memset(object, 0, (size_t)(from - object));
	memset(to, 0, (size_t)(object + stride - to));
	if (from == to)
		return;
	tidep_numa_decommit(from, (size_t)(to - from));
	pthread_mutex_lock(&bin->lock);
	bin->committed_pages -= tidep_arena_slab_note(
		granule->slab, (uint32_t)((size_t)(from - tidep_arena_base_of(granule)) / page),
		(uint32_t)((size_t)(to - from) / page), false);
	pthread_mutex_unlock(&bin->lock);
}

void
tidep_arena_bin_clear(struct tidep_bin *bin, const struct tidep_granule *granule, uint32_t slot,
		      bool is_used_again)
{
	if (bin->is_guarded)
		tidep_arena_guard_open(tidep_arena_slot_at(granule, slot), bin->geometry.stride);
	clear_slot(bin, granule, slot, is_used_again);
	if (bin->is_guarded)
		tidep_arena_guard_shut(tidep_arena_slot_at(granule, slot), bin->geometry.stride);
}
