/* SPDX-License-Identifier: MIT */
/*
 * In the child of a fork: what hooks of threads that are gone had in hand. Which
 * slots that are is found by marking the words of all idle objects that some
 * magazine holds; who is IDLE and unmarked was in a hand, and so was a claimed slot
 * without an object that no cache has claimed ahead.
 */
#include "config.h"

#include "pool/fork.h"
#include "pool/thread.h"

#define MARK UINT64_C(8) /* in the state; nobody else looks at words meanwhile */

static_assert((TIDEP_BREAKING & MARK) == 0, "no state has the mark");

static void
flip_mark(const struct tidep_entry *entry, void *unused)
{
	(void)unused;
	atomic_fetch_xor_explicit(entry->word, MARK, memory_order_relaxed);
}

static void
flip_magazine(const struct tidep_magazine *magazine, uint32_t n)
{
	for (uint32_t i = 0; magazine != NULL && i < n; i++)
		flip_mark(&magazine->at[i], NULL);
}

static void
flip_all(struct tide_pool *pool)
{
	for (unsigned i = 0; i < pool->depots; i++)
		tidep_pool_depot_each(&pool->depot[i], flip_mark, NULL);
	if (pool->quarantine != NULL)
		tidep_pool_quarantine_each(pool->quarantine, flip_mark, NULL);
	for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next) {
		flip_magazine(cache->loaded, tidep_pool_cache_n(cache));
		if (cache->previous != NULL)
			flip_magazine(cache->previous, cache->previous->n);
		for (unsigned node = 0; node < pool->depots; node++)
			if (cache->remote[node] != NULL)
				flip_magazine(cache->remote[node], cache->remote[node]->n);
	}
}

static bool
is_fresh(const struct tide_pool *pool, const struct tidep_granule *granule, uint32_t slot)
{
	for (const struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next) {
		const struct tidep_run *run = &cache->fresh;

		if (run->slots > 0 && run->granule->slab == granule->slab && slot >= run->first &&
		    slot - run->first < run->slots)
			return true;
	}
	return false;
}

/* Is it what this thread has in hand, and goes on with? */
static bool
is_in_our_hand(const tidep_word *word, enum tidep_handed *handed)
{
	for (const struct tidep_hand *hand = tidep_pool_self.hand; hand; hand = hand->outer)
		if (hand->word == word) {
			*handed = hand->handed;
			return true;
		}
	return false;
}

/* How the words of a pool stand now. */
struct tally {
	uint64_t live, idle;      /* objects in hand count as they did before */
	uint64_t being_made;      /* in our hand */
	struct tidep_run made_in; /* a claimed slot whose object never came; slots 0: none */
};

static void
tally_slot(struct tide_pool *pool, struct tidep_slab *slab, uint32_t slot, struct tally *tally)
{
	tidep_word *word = tidep_arena_words_of(slab->granule) + slot;
	enum tidep_handed handed;
	uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

	switch ((unsigned)tidep_arena_state(was)) {
	case TIDEP_IDLE | MARK:
		tally->idle++;
		break;
	case TIDEP_IDLE:
		if (is_in_our_hand(word, &handed)) {
			if (handed == TIDEP_HANDED_LIVE)
				tally->live++;
			else
				tally->idle++;
			break;
		}
		/* As if it was put with a pin on it that nobody takes off. */
		was += TIDEP_PIN_ONE + (TIDEP_LEAVING - TIDEP_IDLE);
		atomic_store_explicit(word, was, memory_order_relaxed);
		tally->live++;
		break;
	case TIDEP_LIVE:
	case TIDEP_LEAVING:
	case TIDEP_BREAKING:
		tally->live++;
		break;
	case TIDEP_EMPTY:
		if ((slab->empty[slot / 64] >> slot % 64 & 1) ||
		    is_fresh(pool, slab->granule, slot))
			break;
		if (is_in_our_hand(word, &handed))
			tally->being_made++;
		else
			tally->made_in = (struct tidep_run){ slab->granule, slot, 1 };
		break;
	default:
		break;
	}
}

static struct tally
tally_words(struct tide_pool *pool)
{
	struct tally tally = { 0 };

	for (unsigned i = 0; i < pool->depots; i++)
		for (unsigned list = 0; list < TIDEP_LISTS; list++)
			for (struct tidep_slab *slab = pool->depot[i].bin.lists[list]; slab != NULL;
			     slab = slab->next)
				for (uint32_t slot = 0; slot < slab->granule->slots; slot++)
					tally_slot(pool, slab, slot, &tally);
	return tally;
}

static void
raise_to(_Atomic uint64_t *count, uint64_t low, uint64_t high)
{
	if (low < high)
		atomic_fetch_add_explicit(count, high - low, memory_order_relaxed);
}

/* The counters that other threads had still to raise. */
static void
settle_counts(struct tide_pool *pool, const struct tally *tally)
{
	uint64_t created = atomic_load_explicit(&pool->created, memory_order_relaxed);
	uint64_t released = atomic_load_explicit(&pool->released, memory_order_relaxed);
	uint64_t objs = tally->live + tally->idle;
	struct tidep_counts_sum sum;
	uint64_t taken_back;

	raise_to(&pool->released, released + objs, created);
	raise_to(&pool->created, created, released + objs);
	atomic_store_explicit(&pool->objs, objs + tally->being_made, memory_order_relaxed);
	tidep_pool_sum_locked(pool, &sum);
	taken_back = sum.puts + sum.discards;
	raise_to(&pool->counts.misses, sum.gets, taken_back + tally->live);
	raise_to(&pool->counts.puts, taken_back + tally->live, sum.gets);
}

void
tidep_pool_rescue_locked(struct tide_pool *pool)
{
	struct tally tally;

	flip_all(pool);
	tally = tally_words(pool);
	while (tally.made_in.slots > 0) {
		struct tidep_bin *bin = tidep_arena_bin_of(tally.made_in.granule);

		/* Whatever init left in it is nobody's. */
		tidep_arena_bin_clear(bin, tally.made_in.granule, tally.made_in.first, true);
		tidep_arena_bin_release(bin, &tally.made_in);
		tally = tally_words(pool);
	}
	flip_all(pool);
	settle_counts(pool, &tally);
}
