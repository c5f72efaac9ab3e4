/* SPDX-License-Identifier: MIT */
/*
 * Threads and their caches: birth at the first slow path, death in a
 * thread-specific-data destructor. Cache records are never freed, only reused,
 * so that a collector may look at one whose thread is gone.
 */
#ifndef TIDEP_POOL_THREAD_H
#define TIDEP_POOL_THREAD_H

#include <stdbool.h>

#include "pool/cache.h"

/* Creates the exit hook's key. 0 or -ENOMEM; once. */
int tidep_pool_threads_start(void);

/*
 * Every slow path is between enter and leave, hooks and reports are not. false:
 * this thread is in one already (a signal handler interrupted it).
 */
bool tidep_pool_slow_enter(void);
void tidep_pool_slow_leave(void);

/* The caller's cache of the pool, bound; NULL: it has to do without. */
struct tidep_cache *tidep_pool_cache_bind(struct tide_pool *pool);

/* Cuts a cache loose from its pool, which gets its counts. Nothing is in it. */
void tidep_pool_cache_unbind_locked(struct tidep_cache *cache);

/*
 * Takes the cache's content to the depots and returns its fresh slots. The
 * caller has taken the gate, or holds the registry lock and is the owner.
 */
void tidep_pool_cache_empty_taken(struct tidep_cache *cache);

/* The owner is on another node now: so is its cache. Not inside the gate. */
void tidep_pool_cache_move_home(struct tidep_cache *cache, unsigned home);

/* How many objects the loaded magazine has. Inside the gate. */
static inline uint32_t
tidep_pool_cache_n(const struct tidep_cache *cache)
{
	return (uint32_t)(cache->top - cache->bottom);
}

/* Makes m, which may be NULL, the loaded magazine. Inside the gate. */
static inline void
tidep_pool_cache_load(struct tidep_cache *cache, struct tidep_magazine *magazine)
{
	cache->loaded = magazine;
	cache->bottom = magazine == NULL ? NULL : magazine->at;
	cache->top = magazine == NULL ? NULL : magazine->at + magazine->n;
	cache->limit = magazine == NULL ? NULL : magazine->at + magazine->capacity;
}

/* Takes the loaded magazine out, its n true again; NULL: there is none. */
static inline struct tidep_magazine *
tidep_pool_cache_unload(struct tidep_cache *cache)
{
	struct tidep_magazine *magazine = cache->loaded;

	if (magazine != NULL)
		magazine->n = tidep_pool_cache_n(cache);
	tidep_pool_cache_load(cache, NULL);
	return magazine;
}

/*
 * Empties every cache of the pool that is not in use right now, from any
 * thread; by_force: those too (the pool is being destroyed, nobody uses it).
 */
void tidep_pool_drain(struct tide_pool *pool);
void tidep_pool_drain_locked(struct tide_pool *pool, bool by_force);

/*
 * For tide_check(): holds the gates of all the pool's caches while fn looks at
 * each. Returns how many had to be passed over.
 */
unsigned tidep_pool_caches_look_locked(struct tide_pool *pool,
				       void (*fn)(struct tidep_cache *cache, void *arg),
				       void *arg);

#endif
