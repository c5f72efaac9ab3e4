/* SPDX-License-Identifier: MIT */
/*
 * Puts that are not plain hits: misuse, the last generation, objects of other
 * nodes, full magazines, threads without a cache; and discards. The object is
 * taken from its owner first (the compare-and-swap of its slot word), then
 * reset, then stored; from the first step on it is in this thread's hand alone.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "numa/here.h"
#include "numa/osmem.h"
#include "pool/misuse.h"
#include "pool/thread.h"

static void
count_put(struct tide_pool *pool, struct tidep_cache *cache)
{
	if (cache != NULL && cache != &tidep_pool_no_cache)
		tidep_count_local(&cache->counts.puts, 1);
	else
		tidep_count_shared(&pool->counts.puts);
}

/*
 * Ends the object's life on behalf of its owner; generation is which life, if
 * that was looked at before, else 0. 0: it is in our hand, and *is_last if its
 * slot is retired; else the kind of misuse.
 */
static uint32_t
take(const struct tide_pool *pool, struct tidep_object *object, uint64_t generation, bool *is_last)
{
	for (;;) {
		uint64_t was = atomic_load_explicit(object->entry.word, memory_order_relaxed);

		/* Whoever lost a race for this life must not end the next one. */
		if (generation == 0)
			generation = tidep_arena_generation(was);
		if ((was & TIDEP_STANDING_MASK) != TIDEP_LIVE ||
		    tidep_arena_generation(was) != generation)
			return TIDE_DOUBLE_PUT;
		*is_last = tidep_arena_generation(was) >= pool->last_generation;
		if (*is_last ? tidep_arena_slot_retire(object->entry.word, was)
			     : tidep_arena_slot_put(object->entry.word, was))
			return 0;
	}
}

/* Finds and takes; reports what cannot be. */
static bool
find_and_take(struct tide_pool *pool, void *obj, size_t used, uint64_t generation,
	      struct tidep_object *object, bool *is_last)
{
	uint32_t kind = tidep_pool_object_find(pool, obj, object);
	const char *detail = "it is not the start of an object of any pool";
	char text[96];

	if (kind == 0 && used > pool->object_bytes) {
		kind = TIDE_OVERFLOW;
		snprintf(text, sizeof(text), "%zu bytes used of an object of %zu", used,
			 pool->object_bytes);
		detail = text;
	}
	if (kind == 0) {
		kind = take(pool, object, generation, is_last);
		detail = "it was put already";
	}
	if (kind == 0)
		return true;
	tidep_pool_object_misuse(kind, pool, obj, detail);
	return false;
}

/* A signal handler that interrupted this thread inside the cache or a slow path. */
static bool
is_reentered(struct tide_pool *pool, const struct tidep_cache *cache, const void *obj)
{
	if (tidep_pool_self.depth == 0 &&
	    (cache == &tidep_pool_no_cache || !tidep_pool_gate_is_inside(&cache->gate)))
		return false;
	tidep_pool_object_misuse(TIDE_REENTERED, pool, obj,
				 "a put interrupted another call of this thread");
	return true;
}

/* Into the loaded or the other magazine, if one has room. */
static bool
store_in_magazines(struct tidep_cache *cache, const struct tidep_entry *entry,
		   const struct tidep_bin *bin)
{
	struct tidep_magazine *previous;
	bool stored = false;

	if (!tidep_pool_gate_enter(&cache->gate))
		return false;
	previous = cache->previous;
	if (cache->n == cache->capacity && previous != NULL && previous->n == 0) {
		cache->previous = tidep_pool_cache_unload(cache);
		tidep_pool_cache_load(cache, previous);
	}
	if (cache->bin == bin && cache->n < cache->capacity) {
		cache->loaded->at[cache->n++] = *entry;
		stored = true;
	}
	tidep_pool_gate_leave(&cache->gate);
	return stored;
}

/* Trades a full magazine for an empty one at the home depot. */
static bool
store_at_home(struct tidep_cache *cache, const struct tidep_entry *entry, struct tidep_depot *depot)
{
	unsigned node = depot->bin.node == TIDEP_NODE_INTERLEAVE ? 0 : depot->bin.node;
	struct tidep_magazine *empty, *displaced;

	if (store_in_magazines(cache, entry, &depot->bin))
		return true;
	empty = tidep_pool_depot_take_empty(depot, node);
	if (empty == NULL)
		return false;
	empty->at[empty->n++] = *entry;
	if (!tidep_pool_gate_enter(&cache->gate)) {
		tidep_pool_depot_put_partial(depot, empty);
		return true;
	}
	displaced = cache->previous;
	cache->previous = tidep_pool_cache_unload(cache);
	tidep_pool_cache_load(cache, empty);
	tidep_pool_gate_leave(&cache->gate);
	if (displaced != NULL && displaced->n > 0)
		tidep_count_local(&cache->counts.flushes, 1);
	tidep_pool_depot_put_partial(depot, displaced);
	return true;
}

/* Into the batch of objects that belong to another node; a full one goes there. */
static bool
store_remote(struct tidep_cache *cache, const struct tidep_entry *entry, struct tidep_depot *depot)
{
	struct tidep_magazine *batch;
	struct tidep_magazine *full = NULL;
	bool stored = false;

	if (tidep_pool_gate_enter(&cache->gate)) {
		batch = cache->remote[depot->node];
		if (batch != NULL && batch->n < batch->capacity) {
			batch->at[batch->n++] = *entry;
			stored = true;
			if (batch->n == batch->capacity) {
				cache->remote[depot->node] = NULL;
				full = batch;
			}
		}
		tidep_pool_gate_leave(&cache->gate);
	}
	if (full != NULL) {
		tidep_count_local(&cache->counts.flushes, 1);
		tidep_pool_depot_push(depot, full);
	}
	if (stored)
		return true;
	batch = tidep_pool_depot_take_empty(depot, depot->bin.node);
	if (batch == NULL)
		return false;
	batch->at[batch->n++] = *entry;
	full = batch;
	if (tidep_pool_gate_enter(&cache->gate)) {
		full = cache->remote[depot->node];
		cache->remote[depot->node] = batch;
		tidep_pool_gate_leave(&cache->gate);
	}
	tidep_pool_depot_put_partial(depot, full);
	return true;
}

/* The object is reset: somewhere it finds a place, or else it is let go. */
static void
store(struct tide_pool *pool, void *obj)
{
	struct tidep_object object = tidep_pool_object_of(obj);
	struct tidep_depot *depot = tidep_pool_depot_of(tidep_arena_bin_of(object.granule));
	struct tidep_cache *cache;
	bool is_remote, stored;

	tidep_pool_self.depth++;
	cache = tidep_pool_cache_bind(pool);
	is_remote = pool->depots > 1 &&
		    depot->node != (cache != NULL ? cache->home : tidep_numa_here());
	if (cache == NULL)
		stored = false;
	else if (is_remote)
		stored = store_remote(cache, &object.entry, depot);
	else
		stored = store_at_home(cache, &object.entry, depot);
	if (!stored && !atomic_load_explicit(&pool->closing, memory_order_relaxed))
		stored = tidep_pool_depot_put_one(depot, object.entry);
	count_put(pool, cache);
	if (is_remote)
		tidep_count_shared(&pool->counts.remote_puts);
	tidep_pool_self.depth--;
	/* No memory for a magazine: a put cannot fail, so it goes for good. */
	if (!stored)
		tidep_pool_object_let_go(pool, &object);
}

__attribute__((noinline)) void
tidep_pool_store_slow(struct tide_pool *pool, void *obj)
{
	int saved = errno;

	store(pool, obj);
	errno = saved;
}

/* Reset, then stored or let go. */
static void
put_taken(struct tide_pool *pool, void *obj, size_t used)
{
	struct tidep_object object;

	if (tidep_pool_object_reset(pool, obj, used)) {
		store(pool, obj);
		return;
	}
	object = tidep_pool_object_of(obj);
	tidep_pool_object_let_go(pool, &object);
	count_put(pool, tidep_pool_cache_of(pool));
}

__attribute__((noinline)) void
tidep_pool_put_taken_slow(struct tide_pool *pool, void *obj, size_t used)
{
	int saved = errno;

	put_taken(pool, obj, used);
	errno = saved;
}

__attribute__((noinline)) void
tidep_pool_put_slow(struct tide_pool *pool, void *obj, size_t used, uint64_t generation)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_object object;
	int saved = errno;
	bool is_last;

	if (obj == NULL || is_reentered(pool, cache, obj) ||
	    !find_and_take(pool, obj, used, generation, &object, &is_last))
		return;
	if (is_last) {
		/* Its slot is used up: no reset, it is never seen again. */
		tidep_pool_object_let_go(pool, &object);
		count_put(pool, cache);
	} else {
		put_taken(pool, obj, used);
	}
	errno = saved;
}

void
tide_put_used(tide_pool *pool, void *obj, size_t used)
{
	tidep_pool_put_fast(pool, obj, used);
}

void
tide_put(tide_pool *pool, void *obj)
{
	tidep_pool_put_fast(pool, obj, pool->object_bytes);
}

void
tide_discard(tide_pool *pool, void *obj)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_object object;
	int saved = errno;
	bool is_last;

	if (obj == NULL || is_reentered(pool, cache, obj) ||
	    !find_and_take(pool, obj, 0, 0, &object, &is_last))
		return;
	tidep_pool_object_let_go(pool, &object);
	tidep_count_shared(&pool->counts.discards);
	errno = saved;
}
