/* SPDX-License-Identifier: MIT */
/*
 * A thread's cache of one pool, and the fast path over it. A get or put that
 * hits takes about two dozen instructions beside the call and the reset: no
 * lock, no fence, and one atomic read-modify-write for the pair (the put's).
 *
 *     cache                        magazine `loaded`       `previous`
 *     +----------------------+     +-------------------+   +--------------+
 *     | gate busy flag acked |     | link n capacity   |   | n = 0, or    |
 *     | bottom --------------+---->| at[0] obj word    |   | n = capacity |
 *     | top -----------------+--+  | at[1] obj word    |   +--------------+
 *     | limit ---------------+-+|  | at[2] obj word    |           ^
 *     | bin (home)           | |+->| at[3]             |           |
 *     | gets puts ...        | |   | ...               |           |
 *     | loaded, previous ----+-|---|-------------------|-----------+
 *     +----------------------+ +-->+-------------------+
 *
 * The owner uses a cache between gate enter and leave, and nothing but the
 * cache then: no lock, no hook, no call that may fail. A collector that has
 * taken the gate may do the same. Everything else of a cache is the owner's
 * alone, or the registry lock's.
 */
#ifndef TIDEP_POOL_CACHE_H
#define TIDEP_POOL_CACHE_H

#include <string.h>

#include "pool/gate.h"
#include "pool/pool.h"

#define TIDEP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define TIDEP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TIDEP_FAST        static inline __attribute__((always_inline))

struct tidep_cache {
	/* One line: all that a hit uses of the cache. */
	struct tidep_gate gate;
	struct tidep_entry *top;    /* of the loaded magazine: where the next one goes */
	struct tidep_entry *bottom; /* its first entry, */
	struct tidep_entry *limit;  /* and behind its last; all NULL: none is loaded */
	struct tidep_bin *bin;      /* home; never NULL, see tidep_pool_no_cache */
	struct tidep_counts counts; /* the owner's stores, anyone's loads */

	struct tidep_magazine *loaded;   /* the gate's; its own n is stale */
	struct tidep_magazine *previous; /* the gate's; empty or full, or NULL */
	struct tidep_run fresh;          /* the gate's: claimed slots nobody was given yet */
	struct tide_pool *pool;          /* owner reads; registry lock writes; NULL: unbound */
	unsigned home;                   /* owner: which of the pool's depots bin is in */
	struct tidep_cache *next, *prev; /* registry lock: of the pool, or free */
	struct tidep_magazine *remote[]; /* the gate's: a partial batch for each other node */
};

static_assert(offsetof(struct tidep_cache, counts.puts) + 8 == 64,
	      "a hit uses one line of its cache");

struct tidep_table {
	uint32_t count;
	struct tidep_cache *at[]; /* by pool index; no_cache: none yet */
};

/*
 * While a call of this thread is on a slow path, where it may hold locks, its
 * table is hidden from the fast path: a signal handler that gets or puts then
 * finds no cache, goes the slow way too, and is refused there.
 */
struct tidep_thread {
	struct tidep_table *shown; /* own, or one without any caches */
	struct tidep_table *own;
	uint32_t depth; /* how often it is hidden now */
	bool exited;    /* its exit hook has run: no caches any more */
};

static_assert(sizeof(struct tidep_thread) <= 64, "dlopen has little room for TLS");

/* Stands for every cache that is not there: always inside, never entered. */
extern struct tidep_cache tidep_pool_no_cache;

extern __thread struct tidep_thread tidep_pool_self __attribute__((tls_model("initial-exec")));

void *tidep_pool_get_slow(struct tide_pool *pool);
/* life: the one to end, if it was looked at already; else 0. */
void tidep_pool_put_slow(struct tide_pool *pool, void *obj, size_t used, uint64_t life);
void tidep_pool_put_hooked(struct tide_pool *pool, struct tidep_cache *cache,
			   const struct tidep_bin *bin, void *obj, tidep_word *word, size_t used);
void tidep_pool_store_slow(struct tide_pool *pool, void *obj);
int tidep_pool_put_ref_slow(struct tide_pool *pool, tide_ref ref, size_t used);

/* Which of a table's caches is the pool's, or was a pool's that is gone; or no_cache. */
static inline struct tidep_cache *
tidep_pool_cache_in(const struct tidep_table *table, const struct tide_pool *pool)
{
	return TIDEP_LIKELY(pool->index < table->count) ? table->at[pool->index]
							: &tidep_pool_no_cache;
}

/* The calling thread's, for the fast path. */
static inline struct tidep_cache *
tidep_pool_cache_of(const struct tide_pool *pool)
{
	return tidep_pool_cache_in(tidep_pool_self.shown, pool);
}

TIDEP_FAST void *
tidep_pool_get_fast(struct tide_pool *pool)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_entry *top;
	void *obj;

	/* No cache yet, or a signal handler came in between enter and leave. */
	if (TIDEP_UNLIKELY(tidep_pool_gate_is_inside(&cache->gate)))
		return tidep_pool_get_slow(pool);
	if (TIDEP_UNLIKELY(!tidep_pool_gate_enter_weak(&cache->gate) ||
			   cache->top == cache->bottom)) {
		tidep_pool_gate_leave(&cache->gate);
		return tidep_pool_get_slow(pool);
	}
	top = cache->top - 1;
	cache->top = top;
	obj = top->obj;
	tidep_arena_slot_issue(top->word);
	tidep_count_local(&cache->counts.hits, 1);
	tidep_pool_gate_leave(&cache->gate);
	return obj;
}

/*
 * Clears the first `used` bytes, 128 at most, in place: both ends, which overlap
 * in the middle. Less than 16 is 16, which every slot has.
 */
static inline void
tidep_pool_clear_small(void *obj, size_t used)
{
	char *end = (char *)obj + used;

	if (used > 64) {
		memset(obj, 0, 64);
		memset(end - 64, 0, 64);
	} else if (used > 32) {
		memset(obj, 0, 32);
		memset(end - 32, 0, 32);
	} else if (used > 16) {
		memset(obj, 0, 16);
		memset(end - 16, 0, 16);
	} else {
		memset(obj, 0, 16);
	}
}

/*
 * Puts a reset object into the loaded magazine; false: it has to be the slow way.
 * bin: where the object is at home, if a hook may have moved the cache from
 * there since that was looked at; else NULL.
 */
TIDEP_FAST bool
tidep_pool_cache_push(struct tidep_cache *cache, const struct tidep_bin *bin, void *obj,
		      tidep_word *word)
{
	struct tidep_entry *top;

	if (TIDEP_UNLIKELY(!tidep_pool_gate_enter_weak(&cache->gate) ||
			   cache->top == cache->limit || (bin != NULL && cache->bin != bin))) {
		tidep_pool_gate_leave(&cache->gate);
		return false;
	}
	top = cache->top;
	top->obj = obj;
	top->word = word;
	cache->top = top + 1;
	tidep_count_local(&cache->counts.puts, 1);
	tidep_pool_gate_leave(&cache->gate);
	return true;
}

/* The object has just come into our hand: what is left of a put that hits. */
TIDEP_FAST void
tidep_pool_put_taken(struct tide_pool *pool, struct tidep_cache *cache, const struct tidep_bin *bin,
		     void *obj, tidep_word *word, size_t used)
{
	/* Hooks, and what takes long, outside the cache. */
	if (TIDEP_UNLIKELY(used >= pool->slow_from)) {
		tidep_pool_put_hooked(pool, cache, bin, obj, word, used);
		return;
	}
	tidep_pool_clear_small(obj, used);
	if (TIDEP_UNLIKELY(!tidep_pool_cache_push(cache, NULL, obj, word)))
		tidep_pool_store_slow(pool, obj);
}

TIDEP_FAST void
tidep_pool_put_fast(struct tide_pool *pool, void *obj, size_t used)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_granule *granule;
	const struct tidep_bin *bin;
	tidep_word *word;
	uint64_t was;

	/* No address of ours; no cache yet, or a signal handler between enter and leave. */
	if (TIDEP_UNLIKELY(!tidep_arena_granule_in_first(obj, &granule) ||
			   tidep_pool_gate_is_inside(&cache->gate)))
		goto slow;
	/* Not the start of a slot. */
	if (TIDEP_UNLIKELY(!tidep_arena_word_at(granule, obj, &word) || used > pool->object_bytes))
		goto slow;
	/*
	 * Another pool's, another node's, or nobody's. Whose it is is asked after
	 * the word was read, which changes if the slab becomes another's.
	 */
	was = atomic_load_explicit(word, memory_order_acquire);
	bin = tidep_arena_bin_of(granule);
	/* Not live, pinned, or at its last generation. */
	if (TIDEP_UNLIKELY(bin != cache->bin || !tidep_arena_can_put(was, pool->end_life)))
		goto slow;
	if (TIDEP_UNLIKELY(!tidep_arena_slot_put(word, was, pool->put_step))) {
		/* Lost a race for this life: the next one is not ours to end. */
		tidep_pool_put_slow(pool, obj, used, tidep_arena_life(was));
		return;
	}

	tidep_pool_put_taken(pool, cache, bin, obj, word, used);
	return;
slow:
	tidep_pool_put_slow(pool, obj, used, 0);
}

/* The same by ref: what the word must be is known, so it is not read before. */
TIDEP_FAST int
tidep_pool_put_ref_fast(struct tide_pool *pool, tide_ref ref, size_t used)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_granule *granule;
	struct tidep_object object;
	const struct tidep_bin *bin;

	if (TIDEP_UNLIKELY(
		    !tidep_arena_granule_numbered_in_first(tidep_pool_ref_number(ref), &granule) ||
		    tidep_pool_gate_is_inside(&cache->gate)))
		return tidep_pool_put_ref_slow(pool, ref, used);
	bin = tidep_arena_bin_of(granule);
	if (TIDEP_UNLIKELY(bin != cache->bin || used > pool->object_bytes ||
			   tidep_pool_ref_life(ref) >= pool->end_life))
		return tidep_pool_put_ref_slow(pool, ref, used);
	tidep_pool_ref_slot(pool, &tidep_arena_spaces[0], granule, ref, &object);
	/* Stale, or pinned. */
	if (TIDEP_UNLIKELY(!tidep_arena_slot_put(
		    object.entry.word, ref << TIDEP_LIFE_SHIFT | TIDEP_LIVE, pool->put_step)))
		return tidep_pool_put_ref_slow(pool, ref, used);
	tidep_pool_put_taken(pool, cache, bin, object.entry.obj, object.entry.word, used);
	return 0;
}

#endif
