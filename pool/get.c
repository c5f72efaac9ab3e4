/* SPDX-License-Identifier: MIT */
/*
 * Gets that miss the loaded magazine. Where an object is looked for, in order:
 *
 *     1  the cache's other magazine
 *     2  the home depot
 *     3  the depots of other nodes, nearest first
 *     4  an empty slot of a home slab: a new object
 *     5  when that may not be (max_bytes) or cannot be (no memory): the
 *        caches of all threads, then 2 and 3 again
 */
#include "config.h"

#include <errno.h>

#include "numa/here.h"
#include "numa/topo.h"
#include "pool/misuse.h"
#include "pool/thread.h"

/* Slots are claimed by so many bytes, in whole lines of eight slot words. */
#define FRESH_BYTES     65536u
#define FRESH_SLOTS_MAX 64u

/* A depot grows its pool's magazines each time so many races for it were lost. */
#define CONTENDED_TOO_OFTEN 16

struct find {
	struct tide_pool *pool;
	struct tidep_cache *cache; /* NULL: do without */
	unsigned home;             /* depot to look in first */
	bool home_only;            /* tide_get_on() */
	bool is_hit;               /* found in the cache's magazines */
	struct tidep_object object;
};

enum found { FOUND_NOTHING, FOUND_IDLE, FOUND_EMPTY };

static bool
take_from_magazines(struct find *find)
{
	struct tidep_cache *cache = find->cache;
	struct tidep_magazine *previous;
	bool found = false;

	if (!tidep_pool_gate_enter(&cache->gate))
		return false;
	previous = cache->previous;
	if (cache->top == cache->bottom && previous != NULL && previous->n > 0) {
		cache->previous = tidep_pool_cache_unload(cache);
		tidep_pool_cache_load(cache, previous);
	}
	if (cache->top > cache->bottom) {
		find->object.entry = *--cache->top;
		found = true;
	}
	tidep_pool_gate_leave_slow(&cache->gate);
	return found;
}

/* Larger magazines, so that the depot is asked less often. */
static void
grow_magazines(struct tide_pool *pool, struct tidep_depot *depot)
{
	uint64_t lost = atomic_load_explicit(&depot->contended, memory_order_relaxed);
	uint64_t last = atomic_load_explicit(&depot->grown_at, memory_order_relaxed);
	uint32_t class = tidep_pool_magazine_class(pool);

	if (lost - last < CONTENDED_TOO_OFTEN || class >= pool->class_max)
		return;
	if (atomic_compare_exchange_strong_explicit(&depot->grown_at, &last, lost,
						    memory_order_relaxed, memory_order_relaxed))
		atomic_compare_exchange_strong_explicit(&pool->class, &class, class + 1,
							memory_order_relaxed, memory_order_relaxed);
}

/* Is the depot to look in first the one the cache is at home in? */
static bool
is_at_home(const struct find *find)
{
	return find->cache != NULL && find->cache->home == find->home;
}

/* Swaps an empty magazine for a full one of the home depot. */
static bool
take_from_home(struct find *find)
{
	struct tidep_cache *cache = find->cache;
	struct tidep_depot *depot = &find->pool->depot[find->home];
	struct tidep_magazine *full, *displaced;

	full = tidep_pool_depot_pop_full(depot);
	if (full == NULL)
		return false;
	tidep_count_local(&cache->counts.refills, 1);
	grow_magazines(find->pool, depot);
	find->object.entry = full->at[--full->n];
	if (!tidep_pool_gate_enter(&cache->gate)) {
		tidep_pool_depot_put_partial(depot, full);
		return true;
	}
	/* A signal handler's put may have filled what we found empty. */
	displaced = cache->previous;
	cache->previous = tidep_pool_cache_unload(cache);
	tidep_pool_cache_load(cache, full);
	tidep_pool_gate_leave_slow(&cache->gate);
	tidep_pool_depot_put_partial(depot, displaced);
	return true;
}

/* Takes from the cache's batch of a node, or makes a magazine of its depot one. */
static bool
take_from_remote(struct find *find, unsigned node)
{
	struct tidep_cache *cache = find->cache;
	struct tidep_depot *depot = &find->pool->depot[node];
	struct tidep_magazine *batch = NULL;
	struct tidep_magazine *full;
	bool found = false;

	if (cache == NULL)
		return tidep_pool_depot_get_one(depot, &find->object.entry);
	if (tidep_pool_gate_enter(&cache->gate)) {
		batch = cache->remote[node];
		if (batch != NULL && batch->n > 0) {
			find->object.entry = batch->at[--batch->n];
			found = true;
		}
		tidep_pool_gate_leave_slow(&cache->gate);
	}
	if (found)
		return true;
	full = tidep_pool_depot_pop_full(depot);
	if (full == NULL)
		return false;
	tidep_count_local(&cache->counts.refills, 1);
	find->object.entry = full->at[--full->n];
	batch = full;
	if (tidep_pool_gate_enter(&cache->gate)) {
		batch = cache->remote[node];
		cache->remote[node] = full;
		tidep_pool_gate_leave_slow(&cache->gate);
	}
	tidep_pool_depot_put_partial(depot, batch);
	return true;
}

static bool
take_from_depots(struct find *find)
{
	const uint16_t *nearest = &tidep_numa_topo.nearest[find->home * tidep_numa_topo.nodes];

	if (is_at_home(find) ? take_from_home(find) : take_from_remote(find, find->home))
		return true;
	if (find->home_only)
		return false;
	for (unsigned i = 1; i < find->pool->depots; i++)
		if (take_from_remote(find, nearest[i]))
			return true;
	return false;
}

/*
 * The last resort: with each depot's lock, since the look without it passes over
 * what another thread is taking one by one.
 */
static bool
take_any(struct find *find)
{
	const uint16_t *nearest = &tidep_numa_topo.nearest[find->home * tidep_numa_topo.nodes];
	unsigned depots = find->home_only ? 1 : find->pool->depots;

	for (unsigned i = 0; i < depots; i++)
		if (tidep_pool_depot_get_one(&find->pool->depot[nearest[i]], &find->object.entry))
			return true;
	return false;
}

static struct tidep_object
split_run(struct tidep_run *run)
{
	struct tidep_object object = {
		.granule = run->granule,
		.slot = run->first,
		.entry = {
			.obj = tidep_arena_slot_at(run->granule, run->first),
			.word = tidep_arena_words_of(run->granule) + run->first,
		},
	};

	run->first++;
	run->slots--;
	return object;
}

/* An empty slot: of the run the cache has claimed, or of a new one. */
static bool
take_empty(struct find *find)
{
	struct tidep_cache *cache = find->cache;
	struct tidep_bin *bin = &find->pool->depot[find->home].bin;
	uint32_t slots = 1;
	struct tidep_run run;
	bool found = false;

	if (is_at_home(find)) {
		if (tidep_pool_gate_enter(&cache->gate)) {
			found = cache->fresh.slots > 0;
			if (found)
				find->object = split_run(&cache->fresh);
			tidep_pool_gate_leave_slow(&cache->gate);
		}
		if (found)
			return true;
		slots = FRESH_BYTES / bin->geometry.stride;
		slots = slots > FRESH_SLOTS_MAX ? FRESH_SLOTS_MAX : slots < 1 ? 1 : slots;
	}
	tidep_arena_bin_claim(bin, slots, &run);
	if (run.slots == 0)
		return false;
	find->object = split_run(&run);
	if (run.slots > 0 && tidep_pool_gate_enter(&cache->gate)) {
		if (cache->fresh.slots == 0) {
			cache->fresh = run;
			run.slots = 0;
		}
		tidep_pool_gate_leave_slow(&cache->gate);
	}
	if (run.slots > 0)
		tidep_arena_bin_release(bin, &run);
	return true;
}

/* May there be one more object? If so it is counted already. */
static bool
reserve_object(struct tide_pool *pool)
{
	uint64_t was = atomic_load_explicit(&pool->objs, memory_order_relaxed);

	/* Not added and taken off again: a get that fails would be in another one's way. */
	do {
		if (was >= pool->max_objs)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&pool->objs, &was, was + 1, memory_order_relaxed, memory_order_relaxed));
	return true;
}

static bool
take_new(struct find *find)
{
	if (!reserve_object(find->pool))
		return false;
	if (take_empty(find))
		return true;
	atomic_fetch_sub_explicit(&find->pool->objs, 1, memory_order_relaxed);
	return false;
}

/*
 * Lets an idle object of another node go, to make room under max_bytes for one
 * on the node that was asked for. false: there is none.
 */
static bool
evict_elsewhere(struct find *find)
{
	struct tide_pool *pool = find->pool;
	struct tidep_object object;
	struct tidep_entry entry;
	bool found = false;

	/* Where the system has refused memory, it would be let go for nothing. */
	if (atomic_load_explicit(&pool->objs, memory_order_relaxed) < pool->max_objs)
		return false;
	for (unsigned node = 0; node < pool->depots && !found; node++)
		found = node != find->home && tidep_pool_depot_get_one(&pool->depot[node], &entry);
	if (!found)
		return false;
	object = tidep_pool_object_of(entry.obj);
	/* Its fini is a hook: outside. */
	tidep_pool_unhide();
	tidep_pool_object_let_go(pool, &object, false);
	tidep_pool_hide();
	return true;
}

static enum found
find_object(struct find *find)
{
	if (is_at_home(find) && take_from_magazines(find)) {
		find->is_hit = true;
		return FOUND_IDLE;
	}
	if (find->cache != NULL && !find->home_only && find->pool->depots > 1) {
		unsigned node = tidep_numa_here();

		if (node != find->cache->home)
			tidep_pool_cache_move_home(find->cache, node);
		find->home = find->cache->home;
	}
	if (take_from_depots(find))
		return FOUND_IDLE;
	if (take_new(find))
		return FOUND_EMPTY;
	/*
	 * Scarce. Other threads' caches may hold idle objects, and fresh slots
	 * that a new object can have. Twice, for what they put meanwhile.
	 */
	for (int i = 0; i < 2; i++) {
		tidep_pool_drain(find->pool);
		if (take_from_depots(find) || take_any(find))
			return FOUND_IDLE;
		do {
			if (take_new(find))
				return FOUND_EMPTY;
		} while (find->home_only && evict_elsewhere(find));
	}
	return FOUND_NOTHING;
}

/*
 * Nothing is held here, and a hook or a signal handler may count a get of its own
 * between a load and a store: so it is added in one step, in the thread's own
 * counters too.
 */
static void
count(const struct find *find, size_t counter_offset)
{
	struct tidep_counts *counts =
		find->cache != NULL ? &find->cache->counts : &find->pool->counts;

	tidep_count_shared((_Atomic uint64_t *)(void *)((char *)counts + counter_offset));
}

static void *
fail(const struct find *find, int err)
{
	count(find, offsetof(struct tidep_counts, failed_gets));
	errno = err;
	return NULL;
}

/* Does the object lie on another node than the thread is at home on? */
static bool
is_remote(const struct find *find)
{
	const struct tide_pool *pool = find->pool;
	unsigned home;

	if (pool->depots == 1)
		return false;
	home = find->cache != NULL ? find->cache->home : tidep_numa_here();
	return tidep_arena_bin_of(tidep_arena_granule_of(find->object.entry.obj)) !=
	       &pool->depot[home].bin;
}

static void *
hand_out(const struct find *find, enum found found, tide_ref *ref)
{
	const struct tidep_object *object = &find->object;
	tide_ref to_come = 0;
	int err;

	if (ref != NULL && found == FOUND_IDLE)
		to_come = tidep_pool_ref_to_come(object->entry.obj,
						 tidep_arena_life(object->entry.idle));
	else if (ref != NULL && found == FOUND_EMPTY)
		to_come = tidep_pool_ref_to_come(
			object->entry.obj,
			tidep_arena_life_to_come(object->entry.word,
						 object->granule->first_life + object->slot));

	switch (found) {
	case FOUND_IDLE:
		tidep_arena_guard_lend(find->pool, object->entry.obj, find->pool->object_bytes);
		tidep_arena_slot_issue(object->entry.word, object->entry.idle);
		break;
	case FOUND_EMPTY:
		err = tidep_pool_object_make(find->pool, object);
		if (err != 0)
			return fail(find, err < 0 ? -err : err);
		break;
	case FOUND_NOTHING:
		return fail(find, ENOMEM);
	}
	if (ref != NULL)
		*ref = to_come;
	if (find->is_hit)
		count(find, offsetof(struct tidep_counts, hits));
	else if (is_remote(find))
		count(find, offsetof(struct tidep_counts, remote_gets));
	else
		count(find, offsetof(struct tidep_counts, misses));
	return object->entry.obj;
}

/* Looks in the depot of one node if `node` is not negative. */
static void *
get_slow(struct tide_pool *pool, int node, tide_ref *ref)
{
	struct find find = { .pool = pool };
	enum found found;
	void *obj;

	if (tidep_pool_is_reentered(pool, NULL, "a get")) {
		errno = EDEADLK;
		return NULL;
	}
	tidep_pool_shield();
	tidep_pool_hand_fill();
	tidep_pool_hide();
	find.cache = tidep_pool_cache_bind(pool);
	if (atomic_load_explicit(&pool->closing, memory_order_relaxed)) {
		tidep_pool_unhide();
		obj = fail(&find, ESHUTDOWN);
		tidep_pool_hand_empty();
		tidep_pool_unshield();
		return obj;
	}
	if (node >= 0) {
		find.home = (unsigned)node;
		find.home_only = true;
	} else if (pool->depots > 1) {
		find.home = find.cache != NULL ? find.cache->home : tidep_numa_here();
	}
	found = find_object(&find);
	tidep_pool_unhide();
	obj = hand_out(&find, found, ref);
	tidep_pool_hand_empty();
	tidep_pool_unshield();
	return obj;
}

__attribute__((noinline)) void *
tidep_pool_get_slow(struct tide_pool *pool, tide_ref *ref)
{
	return get_slow(pool, -1, ref);
}

void *
tide_get(tide_pool *pool)
{
	return tidep_pool_get_fast(pool, NULL);
}

void *
tide_get_on(tide_pool *pool, unsigned node)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	void *obj;

	if (node >= tidep_numa_topo.nodes || pool->placement == TIDE_INTERLEAVE ||
	    (pool->placement == TIDE_BIND && node != pool->depot[0].bin.node)) {
		errno = EINVAL;
		return NULL;
	}
	if (pool->depots == 1)
		return tide_get(pool);
	if (cache->bin == &pool->depot[node].bin && tidep_pool_get_hit(cache, &obj, NULL))
		return obj;
	return get_slow(pool, (int)node, NULL);
}
