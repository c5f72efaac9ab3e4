/* SPDX-License-Identifier: MIT */
/*
 * A thread's cache of one pool, and the fast path over it. A get that hits is
 * about 25 instructions, a put about 55 and its clearing: no lock, no fence, and
 * one atomic read-modify-write for the pair (the put's).
 *
 *     cache                        magazine `loaded`       `previous`
 *     +----------------------+     +-------------------+   +--------------+
 *     | gate gets puts flag  |     | link n capacity   |   | n = 0, or    |
 *     | bottom --------------+---->| at[0] obj word .. |   | n = capacity |
 *     | top -----------------+--+  | at[1] obj word .. |   +--------------+
 *     | limit ---------------+-+|  | at[2] obj word .. |           ^
 *     | bin (home)           | |+->| at[3] what was    |           |
 *     | loaded, previous ----+-|---|- popped last -----|-----------+
 *     | misses ...           | |   | ...               |
 *     +----------------------+ +-->+-------------------+
 *
 * The owner uses a cache between gate enter and leave, and nothing but the
 * cache and one object then: no lock, no hook, no call. A collector that has
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

	/* What the gate's doors have not counted. The owner's stores, anyone's loads. */
	struct tidep_counts counts;
	struct tidep_magazine *loaded;   /* the gate's; its own n is stale */
	struct tidep_magazine *previous; /* the gate's; empty or full, or NULL */
	struct tidep_run fresh;          /* the gate's: claimed slots nobody was given yet */
	struct tide_pool *pool;          /* owner reads; registry lock writes; NULL: unbound */
	bool is_orphan;                  /* registry lock: its thread is not in this child */
	unsigned home;                   /* owner: which of the pool's depots bin is in */
	struct tidep_cache *next, *prev; /* registry lock: of the pool, or free */
	struct tidep_magazine *remote[]; /* the gate's: a partial batch for each other node */
};

static_assert(offsetof(struct tidep_cache, bin) + sizeof(void *) <= 64,
	      "a hit uses one line of its cache");

struct tidep_table {
	struct tidep_table *smaller; /* the one before, kept until the thread's exit */
	uint32_t count;
	struct tidep_cache *at[]; /* by pool index; no_cache: none yet */
};

/*
 * While a call of this thread is on a slow path, where it may hold locks, its
 * table is hidden from the fast path: a signal handler that gets or puts then
 * finds no cache, goes the slow way too, and is refused there.
 *
 * `in_hand` is for a put whose reset runs outside the cache, unshielded since that
 * costs as much as all the rest of it: if the thread is cancelled, in a hook that is a
 * cancellation point or asynchronously, its exit lets the object go.
 */
struct tidep_thread {
	struct tidep_table *shown; /* own, or one without any caches */
	struct tidep_table *own;
	_Atomic uint32_t depth;           /* how often it is hidden now; a fork looks at it, */
	_Atomic uint32_t hands;           /* and at how many objects it has in hand */
	struct tidep_hand *hand;          /* those that hooks are being called for */
	struct tidep_thread *next, *prev; /* fork.c's lock */
	_Atomic bool is_parked;           /* hidden, but a fork need not wait for it */
	bool exited;                      /* its exit hook has run: no caches any more */
	bool is_listed;                   /* a fork finds it; if not it is a stray while hidden */
	bool is_stray;
	bool has_stray_hand;
	uint8_t unprepared; /* so many forks out of hidden sections of its own */
	uint16_t shields;   /* how often it is shielded from cancellation now; see thread.c */
	void *in_hand;      /* an object being put, whose reset is not shielded */
};

static_assert(sizeof(struct tidep_thread) <= 64, "dlopen has little room for TLS");

extern struct tidep_table tidep_pool_no_table;

/* Stands for every cache that is not there: always inside, never entered. */
extern struct tidep_cache tidep_pool_no_cache;

extern __thread struct tidep_thread tidep_pool_self __attribute__((tls_model("initial-exec")));

/* ref: where its ref goes, or NULL. */
void *tidep_pool_get_slow(struct tide_pool *pool, tide_ref *ref);
/* life: the one to end, if it was looked at already; else 0. */
void tidep_pool_put_slow(struct tide_pool *pool, void *obj, size_t used, uint64_t life);
int tidep_pool_put_ref_slow(struct tide_pool *pool, tide_ref ref, size_t used);
/* Puts whose reset is a hook, or long, and runs outside the cache. */
void tidep_pool_put_hooked(struct tide_pool *pool, void *obj, size_t used);
int tidep_pool_put_ref_hooked(struct tide_pool *pool, tide_ref ref, size_t used);

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

/*
 * An object out of the cache's loaded magazine, and its ref where one is wanted; false: it
 * has to be the slow way.
 */
TIDEP_FAST bool
tidep_pool_get_hit(struct tidep_cache *cache, void **obj, tide_ref *ref)
{
	struct tidep_entry *top;

	if (TIDEP_UNLIKELY(!tidep_pool_gate_enter_weak(&cache->gate, &cache->gate.gets)))
		return false;
	/* The magazine is empty. */
	if (TIDEP_UNLIKELY(cache->top == cache->bottom)) {
		tidep_pool_gate_leave(&cache->gate.gets, 0);
		return false;
	}
	top = --cache->top;
	*obj = top->obj;
	if (ref != NULL)
		*ref = tidep_pool_ref_to_come(top->obj, tidep_arena_life(top->idle));
	tidep_arena_guard_lend(cache->pool, top->obj, cache->pool->object_bytes);
	tidep_arena_slot_issue(top->word, top->idle);
	tidep_pool_gate_leave(&cache->gate.gets, 1);
	return true;
}

TIDEP_FAST void *
tidep_pool_get_fast(struct tide_pool *pool, tide_ref *ref)
{
	void *obj;

	if (TIDEP_LIKELY(tidep_pool_get_hit(tidep_pool_cache_of(pool), &obj, ref)))
		return obj;
	return tidep_pool_get_slow(pool, ref);
}

/*
 * Clears the first `used` bytes, 128 at most, in place: both ends, which overlap
 * in the middle. Less than 16 is 16, which every slot has.
 */
static inline void
tidep_pool_clear_small(void *obj, size_t used)
{
	char *begin = obj;
	char *end = begin + used;

	memset(begin, 0, 16);
	if (used <= 16)
		return;
	memset(end - 16, 0, 16);
	if (used <= 32)
		return;
	memset(begin + 16, 0, 16);
	memset(end - 32, 0, 16);
	if (used <= 64)
		return;
	memset(begin + 32, 0, 32);
	memset(end - 64, 0, 32);
}

/*
 * The word of the slot that starts at obj, by division; which is slow to get at,
 * right behind the last put's locked instruction. The entry above the top still
 * names what was got last, most often the very object. Where the two agree the
 * compiler is kept from knowing it: the processor guesses that they do, and goes
 * on with the one it has at once. (Value speculation; what it saves is in
 * DESIGN.md.)
 */
TIDEP_FAST tidep_word *
tidep_pool_guess(const struct tidep_entry *above, tidep_word *word)
{
	tidep_word *guess = above->word;

	if (guess != word)
		return word;
	__asm__("" : "+r"(guess));
	return guess;
}

/* Puts an object in hand on top, where there is room, and leaves. Inside the gate. */
TIDEP_FAST void
tidep_pool_push(struct tidep_cache *cache, void *obj, tidep_word *word, uint64_t idle)
{
	struct tidep_entry *top = cache->top;

	top->obj = obj;
	top->word = word;
	top->idle = idle;
	/* In this order: a thread cancelled between them leaves no entry half written. */
	atomic_signal_fence(memory_order_release);
	cache->top = top + 1;
	tidep_pool_gate_leave(&cache->gate.puts, 1);
}

TIDEP_FAST void
tidep_pool_put_fast(struct tide_pool *pool, void *obj, size_t used)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_granule *granule;
	uint64_t life = 0;
	tidep_word *word;
	const char *base;
	uint64_t slot;
	uint64_t was;

	/* More than we clear ourselves, or beyond the object; or the reset is a hook. */
	if (TIDEP_UNLIKELY(used >= pool->hooked_from)) {
		tidep_pool_put_hooked(pool, obj, used);
		return;
	}
	/* No address of ours. */
	if (TIDEP_UNLIKELY(!tidep_arena_granule_in_first(obj, &granule) ||
			   !tidep_pool_gate_enter_weak(&cache->gate, &cache->gate.puts)))
		goto slow;
	base = tidep_arena_base_of(granule);
	/* The magazine is full; or not the start of a slot, if it is one of ours. */
	if (TIDEP_UNLIKELY(
		    !tidep_arena_slot_from(base, obj, pool->stride, pool->reciprocal, &slot) ||
		    cache->top == cache->limit))
		goto leave;
	word = tidep_pool_guess(cache->top, tidep_arena_words_of(granule) + slot);
	/*
	 * Another pool's, another node's, or nobody's: asked after the word was read,
	 * which changes if its slab becomes another's; and both the word and the object
	 * must still be that slot's, for it may have become one of this pool's that begins
	 * elsewhere. Not live, pinned, or at its last generation.
	 */
	was = atomic_load_explicit(word, memory_order_acquire);
	if (TIDEP_UNLIKELY(tidep_arena_bin_of(granule) != cache->bin ||
			   tidep_arena_words_of(granule) + slot != word ||
			   tidep_arena_base_of(granule) != base ||
			   !tidep_arena_can_put(was, pool->end_life)))
		goto leave;
	if (TIDEP_UNLIKELY(!tidep_arena_slot_put(word, was, pool->put_step))) {
		/* Lost a race for this life: the next one is not ours to end. */
		life = tidep_arena_life(was);
		goto leave;
	}
	tidep_arena_guard_take(pool, obj, pool->stride);
	tidep_pool_clear_small(obj, used);
	tidep_arena_guard_shut(obj, pool->stride);
	tidep_pool_push(cache, obj, word, was + pool->put_step);
	return;
leave:
	tidep_pool_gate_leave(&cache->gate.puts, 0);
slow:
	tidep_pool_put_slow(pool, obj, used, life);
}

/* The same by ref: what the word must be is known, so it is not read before. */
TIDEP_FAST int
tidep_pool_put_ref_fast(struct tide_pool *pool, tide_ref ref, size_t used)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	uint64_t live = ref << TIDEP_LIFE_SHIFT | TIDEP_LIVE;
	struct tidep_granule *granule;
	struct tidep_object object;

	if (TIDEP_UNLIKELY(used >= pool->hooked_from))
		return tidep_pool_put_ref_hooked(pool, ref, used);
	if (TIDEP_UNLIKELY(
		    !tidep_arena_granule_numbered_in_first(tidep_pool_ref_number(ref), &granule) ||
		    !tidep_pool_gate_enter_weak(&cache->gate, &cache->gate.puts)))
		goto slow;
	if (TIDEP_UNLIKELY(cache->top == cache->limit ||
			   tidep_arena_bin_of(granule) != cache->bin ||
			   tidep_pool_ref_life(ref) >= pool->end_life))
		goto leave;
	tidep_pool_ref_slot(pool, &tidep_arena_spaces[0], tidep_pool_ref_number(ref), ref, &object);
	/* Stale, or pinned. */
	if (TIDEP_UNLIKELY(!tidep_arena_slot_put(object.entry.word, live, pool->put_step)))
		goto leave;
	tidep_arena_guard_take(pool, object.entry.obj, pool->stride);
	tidep_pool_clear_small(object.entry.obj, used);
	tidep_arena_guard_shut(object.entry.obj, pool->stride);
	tidep_pool_push(cache, object.entry.obj, object.entry.word, live + pool->put_step);
	return 0;
leave:
	tidep_pool_gate_leave(&cache->gate.puts, 0);
slow:
	return tidep_pool_put_ref_slow(pool, ref, used);
}

#endif
