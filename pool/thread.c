/* SPDX-License-Identifier: MIT */
/*
 * A thread's birth, its caches, its exit; and emptying anybody's cache.
 */
#include "config.h"

#include "pool/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "numa/here.h"
#include "numa/record.h"
#include "numa/topo.h"
#include "pool/fork.h"
#include "pool/misuse.h"

#define TABLE_COUNT_MIN 16

/* The home of a cache without a pool: no granule's bin. */
static struct tidep_bin no_bin;

/* Nobody ever enters it, so nothing in it is ever written. */
struct tidep_cache tidep_pool_no_cache = { .gate = { .gets = TIDEP_GATE_BUSY }, .bin = &no_bin };

struct tidep_table tidep_pool_no_table; /* count 0, for threads without one */

__thread struct tidep_thread tidep_pool_self = { .shown = &tidep_pool_no_table,
						 .own = &tidep_pool_no_table };

static pthread_key_t exit_key;
static _Atomic bool has_exit_key;
static struct tidep_cache *free_caches; /* registry lock */
static _Atomic unsigned threads;

/* ---- re-entry ------------------------------------------------------------- */

bool
tidep_pool_is_reentered(const struct tide_pool *pool, const void *obj, const char *what)
{
	const struct tidep_cache *cache =
		pool != NULL ? tidep_pool_own_cache(pool) : &tidep_pool_no_cache;
	char text[96];

	if (!tidep_pool_is_hidden() &&
	    (cache == &tidep_pool_no_cache || !tidep_pool_gate_is_inside(&cache->gate)))
		return false;
	snprintf(text, sizeof(text), "%s interrupted another call of this thread", what);
	if (pool != NULL)
		tidep_pool_object_misuse(TIDE_REENTERED, pool, obj, text);
	else
		tidep_pool_misuse(TIDE_REENTERED, NULL, obj, 0, 0, text);
	return true;
}

bool
tidep_pool_is_inside(void)
{
	const struct tidep_table *table = tidep_pool_self.own;

	for (uint32_t i = 0; i < table->count; i++)
		if (table->at[i] != &tidep_pool_no_cache &&
		    tidep_pool_gate_is_inside(&table->at[i]->gate))
			return true;
	return false;
}

bool
tidep_pool_is_in_hook(const struct tide_pool *pool)
{
	const struct tidep_hand *hand = tidep_pool_self.hand;

	while (hand != NULL && hand->pool != pool)
		hand = hand->outer;
	return hand != NULL;
}

/* ---- cancellation --------------------------------------------------------- */

/* In `shields`: what was so before the first. */
#define WAS_DISABLED UINT16_C(0x8000)
#define WAS_ASYNC    UINT16_C(0x4000)
#define SHIELDS_MASK UINT16_C(0x3fff)

/*
 * The type first: with glibc 2.36 an asynchronous cancellation that was sent before the
 * state was changed still acts after it; but its handler looks at the type. (For
 * threads that are not asynchronous, most all, that is a load.)
 *
 * The state is the thread's before the count is: a signal handler that comes between
 * the two finds cancellation disabled, and leaves it so.
 */
void
tidep_pool_shield(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	int type, state;

	if (self->shields > 0) {
		self->shields++;
		return;
	}
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	atomic_signal_fence(memory_order_seq_cst);
	self->shields = (uint16_t)(1 | (state == PTHREAD_CANCEL_DISABLE ? WAS_DISABLED : 0) |
				   (type == PTHREAD_CANCEL_ASYNCHRONOUS ? WAS_ASYNC : 0));
	atomic_signal_fence(memory_order_seq_cst);
}

void
tidep_pool_unshield(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	uint16_t was = self->shields;

	atomic_signal_fence(memory_order_seq_cst);
	if ((was & SHIELDS_MASK) > 1) {
		self->shields--;
		return;
	}
	self->shields = 0;
	atomic_signal_fence(memory_order_seq_cst);
	if (!(was & WAS_DISABLED))
		pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	/* The thread may end here, where it has been waited for. */
	if (was & WAS_ASYNC)
		pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
}

/* ---- tables and records --------------------------------------------------- */

/* A table with room for the index; NULL: no memory. It is hidden meanwhile. */
static struct tidep_table *
grow_table(uint32_t index)
{
	struct tidep_table *old = tidep_pool_self.own;
	struct tidep_table *table;
	uint32_t count = old->count > TABLE_COUNT_MIN ? old->count : TABLE_COUNT_MIN;

	if (index < old->count)
		return old;
	while (count <= index)
		count *= 2;
	if (!tidep_pool_self.is_listed)
		return NULL;
	table = tidep_numa_record_alloc(sizeof(*table) + count * sizeof(struct tidep_cache *));
	if (table == NULL)
		return NULL;
	table->count = count;
	memcpy(table->at, old->at, old->count * sizeof(struct tidep_cache *));
	for (uint32_t i = old->count; i < count; i++)
		table->at[i] = &tidep_pool_no_cache;
	/*
	 * The old one is kept: if this is a signal handler, what it has interrupted may
	 * have taken its address just before.
	 */
	if (old == &tidep_pool_no_table)
		atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
	else
		table->smaller = old;
	tidep_pool_self.own = table;
	return table;
}

unsigned
tidep_pool_thread_count(void)
{
	return atomic_load_explicit(&threads, memory_order_relaxed);
}

/* A record without a pool; the registry lock is held. */
static struct tidep_cache *
take_record_locked(void)
{
	struct tidep_cache *cache = free_caches;

	if (cache != NULL) {
		free_caches = cache->next;
		return cache;
	}
	cache = tidep_numa_record_alloc(sizeof(*cache) +
					tidep_numa_topo.nodes * sizeof(cache->remote[0]));
	if (cache != NULL)
		cache->bin = &no_bin;
	return cache;
}

struct tidep_cache *
tidep_pool_cache_bind(struct tide_pool *pool)
{
	struct tidep_cache *cache = tidep_pool_own_cache(pool);
	struct tidep_table *table;

	if (cache->pool == pool)
		return cache;
	if (!pool->caches_objects || tidep_pool_self.exited ||
	    atomic_load_explicit(&pool->closing, memory_order_relaxed))
		return NULL;
	table = grow_table(pool->index);
	if (table == NULL)
		return NULL;
	tidep_pool_registry_lock();
	if (cache == &tidep_pool_no_cache)
		cache = take_record_locked();
	if (cache != NULL) {
		tidep_pool_gate_init(&cache->gate);
		cache->home = pool->depots > 1 ? tidep_numa_here() : 0;
		cache->bin = &pool->depot[cache->home].bin;
		cache->pool = pool;
		cache->prev = NULL;
		cache->next = pool->caches;
		if (cache->next != NULL)
			cache->next->prev = cache;
		pool->caches = cache;
		table->at[pool->index] = cache;
	}
	tidep_pool_registry_unlock();
	return cache;
}

/* Adds up the counts of a cache that goes, into its pool's. */
static void
fold_counts(struct tidep_counts *into, struct tidep_cache *cache)
{
	struct tidep_counts *from = &cache->counts;
	_Atomic uint64_t *sum = &into->hits;
	_Atomic uint64_t *part = &from->hits;

	for (size_t i = 0; i < sizeof(*into) / sizeof(*sum); i++) {
		atomic_fetch_add_explicit(&sum[i],
					  atomic_load_explicit(&part[i], memory_order_relaxed),
					  memory_order_relaxed);
		atomic_store_explicit(&part[i], 0, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&into->hits, tidep_pool_gate_count(&cache->gate.gets),
				  memory_order_relaxed);
	atomic_fetch_add_explicit(&into->puts, tidep_pool_gate_count(&cache->gate.puts),
				  memory_order_relaxed);
	tidep_pool_gate_init(&cache->gate);
}

void
tidep_pool_cache_unbind_locked(struct tidep_cache *cache)
{
	struct tide_pool *pool = cache->pool;

	fold_counts(&pool->counts, cache);
	if (cache->prev != NULL)
		cache->prev->next = cache->next;
	else
		pool->caches = cache->next;
	if (cache->next != NULL)
		cache->next->prev = cache->prev;
	cache->pool = NULL;
	cache->bin = &no_bin;
}

/* ---- emptying a cache ----------------------------------------------------- */

static void
return_fresh(const struct tidep_run *fresh)
{
	if (fresh->slots > 0)
		tidep_arena_bin_release(tidep_arena_bin_of(fresh->granule), fresh);
}

static struct tidep_run
take_fresh(struct tidep_cache *cache)
{
	struct tidep_run fresh = cache->fresh;

	cache->fresh.slots = 0;
	return fresh;
}

static struct tidep_magazine *
take_remote(struct tidep_cache *cache, unsigned node)
{
	struct tidep_magazine *batch = cache->remote[node];

	cache->remote[node] = NULL;
	return batch;
}

void
tidep_pool_cache_empty_taken(struct tidep_cache *cache)
{
	struct tidep_depot *home = tidep_pool_depot_of(cache->bin);
	struct tidep_run fresh = take_fresh(cache);

	tidep_pool_depot_put_partial(home, tidep_pool_cache_unload(cache));
	tidep_pool_depot_put_partial(home, cache->previous);
	cache->previous = NULL;
	return_fresh(&fresh);
	for (unsigned node = 0; node < cache->pool->depots; node++)
		tidep_pool_depot_put_partial(&cache->pool->depot[node], take_remote(cache, node));
}

void
tidep_pool_cache_move_home(struct tidep_cache *cache, unsigned home)
{
	struct tidep_depot *old = tidep_pool_depot_of(cache->bin);
	struct tidep_magazine *loaded, *previous;
	struct tidep_run fresh;

	if (!tidep_pool_gate_enter(&cache->gate))
		return;
	loaded = tidep_pool_cache_unload(cache);
	previous = cache->previous;
	cache->previous = NULL;
	fresh = take_fresh(cache);
	cache->home = home;
	cache->bin = &cache->pool->depot[home].bin;
	/* What was a batch from a remote node is at home now. */
	tidep_pool_cache_load(cache, take_remote(cache, home));
	tidep_pool_gate_leave_slow(&cache->gate);
	tidep_pool_depot_put_partial(old, loaded);
	tidep_pool_depot_put_partial(old, previous);
	return_fresh(&fresh);
}

/* Calls fn for the gate of each cache of the pool. */
static void
each_gate_locked(struct tide_pool *pool, void (*fn)(struct tidep_gate *gate))
{
	for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next)
		fn(&cache->gate);
}

static void
each_gate_of_all_locked(void (*fn)(struct tidep_gate *gate))
{
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next)
		each_gate_locked(pool, fn);
}

/* The barrier behind the raising of gates; without one they are all made strong. */
static void
meet_owners_locked(void)
{
	if (!tidep_pool_gate_barrier())
		each_gate_of_all_locked(tidep_pool_gate_make_strong);
}

static void
raise_all_locked(struct tide_pool *pool)
{
	each_gate_locked(pool, tidep_pool_gate_raise);
	meet_owners_locked();
}

/* false: no memory for a magazine. */
static bool
put_at_home(const struct tidep_entry *entry)
{
	struct tidep_granule *granule = tidep_arena_granule_of(entry->obj);

	return tidep_pool_depot_put_one(tidep_pool_depot_of(tidep_arena_bin_of(granule)), *entry);
}

/* To the depots, until there is no memory for a magazine. The registry lock is held. */
static void
empty_quarantine(struct tide_pool *pool)
{
	struct tidep_entry entry;

	while (pool->quarantine != NULL && tidep_pool_quarantine_take(pool->quarantine, &entry)) {
		if (!put_at_home(&entry)) {
			tidep_pool_quarantine_put_back(pool->quarantine, &entry);
			return;
		}
	}
}

void
tidep_pool_drain_locked(struct tide_pool *pool, bool by_force)
{
	raise_all_locked(pool);
	for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next) {
		if (tidep_pool_gate_try_take(&cache->gate) || by_force)
			tidep_pool_cache_empty_taken(cache);
		tidep_pool_gate_lower(&cache->gate);
	}
	empty_quarantine(pool);
}

void
tidep_pool_drain(struct tide_pool *pool)
{
	tidep_pool_registry_lock();
	tidep_pool_drain_locked(pool, false);
	tidep_pool_registry_unlock();
}

unsigned
tidep_pool_caches_look_locked(struct tide_pool *pool,
			      void (*fn)(struct tidep_cache *cache, void *arg), void *arg)
{
	unsigned passed = 0;

	raise_all_locked(pool);
	for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next) {
		/*
		 * Nobody is at work, so a gate that cannot be taken because its
		 * owner has not acknowledged yet is no obstacle.
		 */
		if (tidep_pool_gate_try_take(&cache->gate) ||
		    !tidep_pool_gate_is_inside(&cache->gate))
			fn(cache, arg);
		else
			passed++;
		tidep_pool_gate_lower(&cache->gate);
	}
	return passed;
}

/* ---- fork ------------------------------------------------------------------ */

void
tidep_pool_caches_stop_locked(void)
{
	each_gate_of_all_locked(tidep_pool_gate_raise);
	meet_owners_locked();
}

void
tidep_pool_caches_wait_locked(void)
{
	unsigned turns = 0;

	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next)
		for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next)
			while (cache != tidep_pool_own_cache(pool) &&
			       !tidep_pool_gate_is_left(&cache->gate))
				tidep_pool_wait_a_turn(&turns);
}

void
tidep_pool_caches_go_on_locked(void)
{
	each_gate_of_all_locked(tidep_pool_gate_lower);
}

void
tidep_pool_caches_orphan_locked(void)
{
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next)
		for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next)
			cache->is_orphan = cache != tidep_pool_own_cache(pool);
	tidep_pool_caches_go_on_locked();
	atomic_store_explicit(&threads, tidep_pool_self.own != &tidep_pool_no_table,
			      memory_order_relaxed);
}

void
tidep_pool_caches_adopt_locked(struct tide_pool *pool)
{
	struct tidep_cache *next;

	for (struct tidep_cache *cache = pool->caches; cache != NULL; cache = next) {
		next = cache->next;
		if (!cache->is_orphan)
			continue;
		cache->is_orphan = false;
		tidep_pool_cache_empty_taken(cache);
		tidep_pool_cache_unbind_locked(cache);
		cache->next = free_caches;
		free_caches = cache;
	}
}

/* ---- flush and exit ------------------------------------------------------- */

/*
 * With the registry locked no collector is at a gate, so the owner needs none.
 * false: a call of this thread has been interrupted inside one of them.
 */
static bool
empty_caches_locked(const struct tidep_table *table)
{
	bool all = true;

	for (uint32_t i = 0; i < table->count; i++) {
		struct tidep_cache *cache = table->at[i];

		if (cache->pool == NULL)
			continue;
		if (tidep_pool_gate_is_inside(&cache->gate))
			all = false;
		else
			tidep_pool_cache_empty_taken(cache);
	}
	return all;
}

void
tide_thread_flush(void)
{
	bool all;

	if (tidep_pool_is_reentered(NULL, NULL, "a flush"))
		return;
	tidep_pool_registry_lock();
	all = empty_caches_locked(tidep_pool_self.own);
	tidep_pool_registry_unlock();
	if (!all)
		tidep_pool_misuse(TIDE_REENTERED, NULL, NULL, 0, 0,
				  "a flush interrupted another call of this thread");
}

/*
 * A thread that was cancelled inside a gate, between any two instructions, leaves it
 * now: before any lock is waited for, since a fork waits for the gate with locks
 * held. What the magazines hold is sound, but the object it was at may be in none of
 * them, and the call not counted.
 */
static void
leave_gates(const struct tidep_table *table)
{
	for (uint32_t i = 0; i < table->count; i++) {
		struct tidep_cache *cache = table->at[i];

		if (cache->pool == NULL || !tidep_pool_gate_is_inside(&cache->gate))
			continue;
		atomic_fetch_add_explicit(&cache->pool->lost, 1, memory_order_relaxed);
		tidep_pool_gate_abandon(&cache->gate);
	}
}

static void
exit_thread(void *unused)
{
	struct tidep_table *table = tidep_pool_self.own;
	bool was_in_hook = tidep_pool_self.hand != NULL;

	(void)unused;
	tidep_pool_self.exited = true;
	tidep_pool_self.hand = NULL;
	tidep_pool_self.shown = &tidep_pool_no_table;
	tidep_pool_self.own = &tidep_pool_no_table;
	leave_gates(table);
	/* Its hand counts until then: a fork meanwhile finds the object by that. */
	tidep_pool_let_go_in_hand(was_in_hook);
	atomic_store_explicit(&tidep_pool_self.hands, 0, memory_order_release);
	tidep_pool_hide();
	if (table == &tidep_pool_no_table) {
		tidep_pool_thread_unlist();
		tidep_pool_unhide();
		return;
	}
	tidep_pool_registry_lock();
	(void)empty_caches_locked(table);
	for (uint32_t i = 0; i < table->count; i++) {
		struct tidep_cache *cache = table->at[i];

		if (cache == &tidep_pool_no_cache)
			continue;
		if (cache->pool != NULL)
			tidep_pool_cache_unbind_locked(cache);
		cache->next = free_caches;
		free_caches = cache;
	}
	tidep_pool_registry_unlock();
	while (table != NULL) {
		struct tidep_table *smaller = table->smaller;

		tidep_numa_record_free(table);
		table = smaller;
	}
	tidep_pool_thread_unlist();
	tidep_pool_unhide();
	atomic_fetch_sub_explicit(&threads, 1, memory_order_relaxed);
}

bool
tidep_pool_thread_will_exit(void)
{
	/* The destructor runs for threads whose value is not NULL. */
	return atomic_load_explicit(&has_exit_key, memory_order_acquire) &&
	       pthread_setspecific(exit_key, &tidep_pool_no_table) == 0;
}

int
tidep_pool_threads_start(void)
{
	if (pthread_key_create(&exit_key, exit_thread) != 0)
		return -ENOMEM;
	/* Release: pairs with the acquire of whoever uses the key. */
	atomic_store_explicit(&has_exit_key, true, memory_order_release);
	return 0;
}
