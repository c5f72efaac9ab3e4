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
 * Between shield and unshield, which nest, pthread_cancel() waits, an asynchronous
 * one too. So no thread goes with a lock, or in the middle of a change; and hooks
 * may be cancellation points.
 */
void tidep_pool_shield(void);
void tidep_pool_unshield(void);

/*
 * Every slow path, and whatever holds a lock, is between hide and unhide, which
 * nest; hooks and reports are not.
 */
void tidep_pool_hide(void);
void tidep_pool_unhide(void);

/* For fork.c: out of the list of threads, from the exit hook; will that hook run? */
void tidep_pool_thread_unlist(void);
bool tidep_pool_thread_will_exit(void);

/* Is this thread between the two? Then whoever asks has interrupted it. */
bool tidep_pool_is_hidden(void);

/* Or inside any of its caches? */
bool tidep_pool_is_inside(void);

/*
 * Has this call ("a put") interrupted another one of its thread, on a slow path
 * or inside the cache of this pool? Reported as TIDE_REENTERED. For all that
 * takes a lock; pool and obj may be NULL.
 */
bool tidep_pool_is_reentered(const struct tide_pool *pool, const void *obj, const char *what);

/* The calling thread's cache of the pool, as tidep_pool_cache_in(), hidden or not. */
static inline struct tidep_cache *
tidep_pool_own_cache(const struct tide_pool *pool)
{
	return tidep_pool_cache_in(tidep_pool_self.own, pool);
}

/*
 * An object is in this thread's hand, out of every magazine, while hooks may run:
 * from before it is taken to after it is counted. For a fork in the middle of that:
 * no hand is filled while one is under way.
 */
void tidep_pool_hand_fill(void);
void tidep_pool_hand_empty(void);

/*
 * What this thread has in hand as it calls a hook, which may fork: in the child that
 * goes on. It is on the stack of who calls.
 */
enum tidep_handed {
	TIDEP_HANDED_LIVE, /* by a put that is not counted yet */
	TIDEP_HANDED_IDLE, /* out of a magazine, to be let go */
	TIDEP_HANDED_SLOT, /* no object yet */
};

struct tidep_hand {
	struct tidep_hand *outer; /* a hook's call may call hooks */
	const struct tide_pool *pool;
	const tidep_word *word;
	enum tidep_handed handed;
};

static inline void
tidep_pool_hand_show(struct tidep_hand *hand, const struct tide_pool *pool, const tidep_word *word,
		     enum tidep_handed handed)
{
	*hand = (struct tidep_hand){ tidep_pool_self.hand, pool, word, handed };
	tidep_pool_self.hand = hand;
}

static inline void
tidep_pool_hand_hide(const struct tidep_hand *hand)
{
	tidep_pool_self.hand = hand->outer;
}

/* Is a hook of this pool running on this thread? Its object is not to be finished twice. */
bool tidep_pool_is_in_hook(const struct tide_pool *pool);

/* The fini hook, if there is one, with the object shown. No lock held. */
void tidep_pool_object_finish(struct tide_pool *pool, void *obj, const tidep_word *word,
			      enum tidep_handed handed);

/* The caller's cache of the pool, bound; NULL: it has to do without. Hidden. */
struct tidep_cache *tidep_pool_cache_bind(struct tide_pool *pool);

/*
 * Lets the object go that the thread was cancelled in the reset of, which is not known
 * to be good. Nothing is locked; its fini runs. If it was not in the reset itself, it
 * is not known whose the object is, and nothing is done.
 */
void tidep_pool_let_go_in_hand(bool was_in_reset);

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
 * For fork(), with no slow path under way: all owners but the caller stay outside
 * their caches until they are let go on. In the child all caches but the caller's
 * are orphans, and are adopted later: emptied, and free for other threads.
 */
void tidep_pool_caches_stop_locked(void); /* raise the gates, and then */
void tidep_pool_caches_wait_locked(void);
void tidep_pool_caches_go_on_locked(void);
void tidep_pool_caches_orphan_locked(void);
void tidep_pool_caches_adopt_locked(struct tide_pool *pool);

/*
 * For tide_check(), while nobody is at work: holds the gates of all the pool's
 * caches while fn looks at each. Returns how many were in use all the same.
 */
unsigned tidep_pool_caches_look_locked(struct tide_pool *pool,
				       void (*fn)(struct tidep_cache *cache, void *arg), void *arg);

#endif
