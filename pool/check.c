/* SPDX-License-Identifier: MIT */
/*
 * tide_check(): every slot of every pool against every magazine.
 *
 * Let W be the slots whose word says idle and M the entries of all magazines.
 * If every entry's word says idle, no word is in M twice, and W and M have the
 * same size, then each idle object is in exactly one place (B) and none is
 * lost. The counters must agree with the words (E), and each entry must be
 * where its memory is at home (H). Threads that were cancelled inside their caches
 * may have lost objects: so many may be missing in M, or be counted wrongly.
 */
#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "numa/record.h"
#include "pool/thread.h"

struct check {
	struct tide_pool *pool;
	unsigned faults;
	/* By the words: */
	uint64_t live, idle, claimed_empty;
	/* By the magazines: */
	tidep_word **entries;
	uint64_t found, room;
	uint64_t fresh; /* slots that caches have claimed ahead */
	/* Which depot the magazine being looked at is, or belongs to; NULL: it has none. */
	const struct tidep_bin *home;
};

__attribute__((format(printf, 2, 3))) static void
fault(struct check *check, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "tidepool: check: pool '%s': ", check->pool->label);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	check->faults++;
}

static void
count_slab(struct check *check, const struct tidep_slab *slab)
{
	const struct tidep_granule *granule = slab->granule;
	uint64_t claimed = granule->slots - slab->empties;
	uint64_t objects = 0;

	for (uint32_t i = 0; i < granule->slots; i++) {
		uint64_t word = atomic_load_explicit(tidep_arena_words_of(granule) + i,
						     memory_order_relaxed);
		bool is_claimed = !(slab->empty[i / 64] >> i % 64 & 1);

		switch (tidep_arena_state(word)) {
		case TIDEP_EMPTY:
			continue;
		case TIDEP_LIVE:
		case TIDEP_LEAVING:
		case TIDEP_BREAKING:
			check->live++;
			break;
		case TIDEP_IDLE:
			check->idle++;
			break;
		case TIDEP_RETIRED:
			break;
		default:
			fault(check, "slot %p has the impossible word %#llx",
			      tidep_arena_slot_at(granule, i), (unsigned long long)word);
		}
		objects++;
		if (!is_claimed)
			fault(check, "slot %p holds an object and counts as empty",
			      tidep_arena_slot_at(granule, i));
	}
	check->claimed_empty += claimed - objects;
}

static void
note_entry(const struct tidep_entry *entry, void *arg)
{
	struct check *check = arg;
	struct tidep_object object;
	uint64_t word;

	if (tidep_pool_object_find(check->pool, entry->obj, &object) != 0 ||
	    object.entry.word != entry->word) {
		fault(check, "a magazine holds %p, which is no object of the pool", entry->obj);
		return;
	}
	word = atomic_load_explicit(entry->word, memory_order_relaxed);
	if ((word & TIDEP_STANDING_MASK) != TIDEP_IDLE)
		fault(check, "a magazine holds %p, which is not idle", entry->obj);
	else if (word != entry->idle)
		fault(check, "a magazine holds an earlier life of %p", entry->obj);
	if (check->home != NULL && tidep_arena_bin_of(object.granule) != check->home)
		fault(check, "%p rests on a node that is not its own", entry->obj);
	if (check->found < check->room)
		check->entries[check->found] = entry->word;
	check->found++;
}

static void
note_magazine(struct check *check, const struct tidep_magazine *magazine, uint32_t n)
{
	for (uint32_t i = 0; magazine != NULL && i < n; i++)
		note_entry(&magazine->at[i], check);
}

static void
note_cache(struct tidep_cache *cache, void *arg)
{
	struct check *check = arg;

	check->home = cache->bin;
	note_magazine(check, cache->loaded, tidep_pool_cache_n(cache));
	if (cache->previous != NULL)
		note_magazine(check, cache->previous, cache->previous->n);
	for (unsigned node = 0; node < check->pool->depots; node++) {
		check->home = &check->pool->depot[node].bin;
		if (cache->remote[node] != NULL)
			note_magazine(check, cache->remote[node], cache->remote[node]->n);
	}
	check->fresh += cache->fresh.slots;
}

static int
by_address(const void *a, const void *b)
{
	const tidep_word *left = *(tidep_word *const *)a;
	const tidep_word *right = *(tidep_word *const *)b;

	return (left > right) - (left < right);
}

static void
compare(struct check *check)
{
	struct tide_pool *pool = check->pool;
	struct tidep_counts_sum sum;
	uint64_t created = atomic_load_explicit(&pool->created, memory_order_relaxed);
	uint64_t released = atomic_load_explicit(&pool->released, memory_order_relaxed);
	uint64_t objs = atomic_load_explicit(&pool->objs, memory_order_relaxed);
	uint64_t lost = atomic_load_explicit(&pool->lost, memory_order_relaxed);

	tidep_pool_sum_locked(pool, &sum);
	if (check->found > check->idle || check->idle - check->found > lost)
		fault(check, "%llu objects are idle, magazines hold %llu",
		      (unsigned long long)check->idle, (unsigned long long)check->found);
	if (check->live > sum.live + lost || sum.live > check->live + lost)
		fault(check, "%llu objects are live, the counters say %llu",
		      (unsigned long long)check->live, (unsigned long long)sum.live);
	if (check->live + check->idle + released != created)
		fault(check, "live %llu + idle %llu + released %llu is not created %llu",
		      (unsigned long long)check->live, (unsigned long long)check->idle,
		      (unsigned long long)released, (unsigned long long)created);
	if (objs != created - released)
		fault(check, "%llu objects are counted against max_bytes, there are %llu",
		      (unsigned long long)objs, (unsigned long long)(created - released));
	if (check->claimed_empty != check->fresh)
		fault(check, "%llu claimed slots are empty, caches have %llu",
		      (unsigned long long)check->claimed_empty, (unsigned long long)check->fresh);
	if (check->found > check->room)
		return;
	qsort(check->entries, check->found, sizeof(tidep_word *), by_address);
	for (uint64_t i = 1; i < check->found; i++)
		if (check->entries[i] == check->entries[i - 1])
			fault(check, "the object of slot word %p is in two places",
			      (void *)check->entries[i]);
}

static int
check_pool_locked(struct tide_pool *pool, unsigned *faults)
{
	struct check check = { .pool = pool };
	unsigned passed;

	for (unsigned i = 0; i < pool->depots; i++) {
		struct tidep_bin *bin = &pool->depot[i].bin;

		pthread_mutex_lock(&bin->lock);
		for (unsigned list = 0; list < TIDEP_LISTS; list++)
			for (struct tidep_slab *slab = bin->lists[list]; slab; slab = slab->next)
				count_slab(&check, slab);
		pthread_mutex_unlock(&bin->lock);
	}
	check.room = check.idle;
	check.entries = tidep_numa_record_alloc((check.room + 1) * sizeof(check.entries[0]));
	if (check.entries == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < pool->depots; i++) {
		check.home = &pool->depot[i].bin;
		tidep_pool_depot_each(&pool->depot[i], note_entry, &check);
	}
	check.home = NULL;
	if (pool->quarantine != NULL)
		tidep_pool_quarantine_each(pool->quarantine, note_entry, &check);
	passed = tidep_pool_caches_look_locked(pool, note_cache, &check);
	if (passed == 0)
		compare(&check);
	tidep_numa_record_free(check.entries);
	*faults += check.faults;
	return passed > 0 ? -EAGAIN : 0;
}

int
tide_check(void)
{
	unsigned faults = 0;
	int result = 0;

	if (tidep_pool_is_reentered(NULL, NULL, "a check"))
		return -EDEADLK;
	tidep_pool_registry_lock();
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next) {
		int err = check_pool_locked(pool, &faults);

		if (err != 0)
			result = err;
	}
	tidep_pool_registry_unlock();
	return faults > 0 ? -EUCLEAN : result;
}
