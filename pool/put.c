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
#include "pool/misuse.h"
#include "pool/thread.h"

/* In one step, for a hook or a signal handler may be counting too: see get.c. */
static void
count_put(struct tide_pool *pool, struct tidep_cache *cache)
{
	/* Of a pool without caches, the table may have a cache of one that is gone. */
	bool has_cache = cache != NULL && cache->pool == pool;

	tidep_count_shared(has_cache ? &cache->counts.puts : &pool->counts.puts);
}

/* How a life ended. */
enum ended { ENDED_NOT, ENDED_IN_HAND, ENDED_PINNED };

/*
 * Ends this life, if it is the one that the word says and it goes on. The object
 * is in our hand then, or if somebody has it pinned in the hand of the last one to
 * unpin it, which is told what to do by `leaving`.
 */
static enum ended
end_life(const struct tide_pool *pool, tidep_word *word, uint64_t life, enum tidep_state leaving)
{
	for (;;) {
		uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

		/* Whoever lost a race for this life must not end the next one. */
		if (tidep_arena_state(was) != TIDEP_LIVE || tidep_arena_life(was) != life)
			return ENDED_NOT;
		if (tidep_arena_pins(was) == 0) {
			if (tidep_arena_slot_put(word, was, pool->put_step))
				return ENDED_IN_HAND;
		} else if (tidep_arena_slot_put_pinned(word, was, pool->put_step, leaving)) {
			return ENDED_PINNED;
		}
	}
}

static void
report_overflow(const struct tide_pool *pool, const void *obj, size_t used)
{
	char text[96];

	snprintf(text, sizeof(text), "%zu bytes used of an object of %zu", used,
		 pool->object_bytes);
	tidep_pool_object_misuse(TIDE_OVERFLOW, pool, obj, text);
}

/*
 * Finds the owner's object and ends its life, which is the one of now if `life`
 * is 0; reports what cannot be.
 */
static enum ended
find_and_end(struct tide_pool *pool, void *obj, size_t used, uint64_t life,
	     enum tidep_state leaving)
{
	const char *detail = "it is not the start of an object of any pool";
	struct tidep_object object;
	uint32_t kind = tidep_pool_object_find(pool, obj, &object);
	enum ended ended = ENDED_NOT;

	if (kind == 0 && used > pool->object_bytes) {
		report_overflow(pool, obj, used);
		return ENDED_NOT;
	}
	if (kind == 0) {
		ended = end_life(pool, object.entry.word, life != 0 ? life : object.life, leaving);
		kind = TIDE_DOUBLE_PUT;
		detail = "it was put already";
	}
	if (ended == ENDED_NOT)
		tidep_pool_object_misuse(kind, pool, obj, detail);
	return ended;
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
	if (cache->top == cache->limit && previous != NULL && previous->n == 0) {
		cache->previous = tidep_pool_cache_unload(cache);
		tidep_pool_cache_load(cache, previous);
	}
	if (cache->bin == bin && cache->top < cache->limit) {
		*cache->top++ = *entry;
		stored = true;
	}
	tidep_pool_gate_leave_slow(&cache->gate);
	return stored;
}

/* Trades a full magazine for an empty one at the home depot. */
static bool
store_at_home(struct tidep_cache *cache, const struct tidep_entry *entry, struct tidep_depot *depot)
{
	struct tidep_magazine *empty, *displaced;

	if (store_in_magazines(cache, entry, &depot->bin))
		return true;
	empty = tidep_pool_depot_take_empty(depot);
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
	tidep_pool_gate_leave_slow(&cache->gate);
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
		tidep_pool_gate_leave_slow(&cache->gate);
	}
	if (full != NULL) {
		tidep_count_local(&cache->counts.flushes, 1);
		tidep_pool_depot_push(depot, full);
	}
	if (stored)
		return true;
	batch = tidep_pool_depot_take_empty(depot);
	if (batch == NULL)
		return false;
	batch->at[batch->n++] = *entry;
	full = batch;
	if (tidep_pool_gate_enter(&cache->gate)) {
		full = cache->remote[depot->node];
		cache->remote[depot->node] = batch;
		tidep_pool_gate_leave_slow(&cache->gate);
	}
	tidep_pool_depot_put_partial(depot, full);
	return true;
}

/* The object is reset: somewhere it finds a place, or else it is let go. */
static void
store(struct tide_pool *pool, void *obj)
{
	struct tidep_object object = tidep_pool_object_of(obj);
	struct tidep_depot *depot;
	struct tidep_cache *cache;
	bool is_remote, stored;

	tidep_pool_hide();
	cache = tidep_pool_cache_bind(pool);
	if (pool->quarantine != NULL) {
		struct tidep_entry entry = object.entry;

		if (!tidep_pool_quarantine_swap(pool->quarantine, &entry)) {
			count_put(pool, cache);
			tidep_pool_unhide();
			return;
		}
		object = tidep_pool_object_of(entry.obj);
	}
	depot = tidep_pool_depot_of(tidep_arena_bin_of(object.granule));
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
	tidep_pool_unhide();
	/* No memory for a magazine: a put cannot fail, so it goes for good. */
	if (!stored)
		tidep_pool_object_let_go(pool, &object, false);
}

void
tidep_pool_object_put(struct tide_pool *pool, void *obj, size_t used)
{
	struct tidep_object object = tidep_pool_object_of(obj);

	tidep_arena_guard_take(pool, obj, pool->object_bytes);
	/* Without a reset where the slot is used up: nobody sees the object again. */
	if (!tidep_pool_object_is_used_up(&object) &&
	    tidep_pool_object_reset(pool, &object.entry, used)) {
		store(pool, obj);
		return;
	}
	tidep_pool_object_let_go(pool, &object, true);
	count_put(pool, tidep_pool_cache_of(pool));
}

void
tidep_pool_object_discard(struct tide_pool *pool, void *obj)
{
	struct tidep_object object = tidep_pool_object_of(obj);

	tidep_arena_guard_take(pool, obj, pool->object_bytes);
	tidep_pool_object_let_go(pool, &object, true);
	tidep_count_shared(&pool->counts.discards);
}

/*
 * Notes that an object is about to be taken from its owner. false: the place is taken,
 * this is a put in the hook of another one: shielded instead.
 */
static bool
take_in_hand(void *obj)
{
	if (tidep_pool_self.in_hand != NULL) {
		tidep_pool_shield();
		return false;
	}
	tidep_pool_self.in_hand = obj;
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

static void
drop_from_hand(bool noted)
{
	if (!noted) {
		tidep_pool_unshield();
		return;
	}
	atomic_signal_fence(memory_order_seq_cst);
	tidep_pool_self.in_hand = NULL;
	atomic_signal_fence(memory_order_seq_cst);
}

void
tidep_pool_let_go_in_hand(bool was_in_reset)
{
	void *obj = tidep_pool_self.in_hand;
	struct tidep_object object;
	struct tide_pool *pool;

	if (obj == NULL)
		return;
	drop_from_hand(true);
	object = tidep_pool_object_of(obj);
	pool = tidep_pool_depot_of(tidep_arena_bin_of(object.granule))->pool;
	/* At the very moment: perhaps it was not taken yet, or is in the cache already. */
	if (!was_in_reset) {
		atomic_fetch_add_explicit(&pool->lost, 1, memory_order_relaxed);
		return;
	}
	tidep_count_shared(&pool->counts.broken);
	tidep_pool_object_let_go(pool, &object, true);
	tidep_count_shared(&pool->counts.puts);
}

/* The reset is done. true: the gate was passed, and there is a place in the cache. */
static bool
find_place(const struct tide_pool *pool, struct tidep_cache *cache, const struct tidep_bin *bin)
{
	if (pool->quarantine != NULL ||
	    !tidep_pool_gate_enter_weak(&cache->gate, &cache->gate.puts))
		return false;
	/* The hook may have moved the cache elsewhere. */
	if (cache->pool == pool && cache->bin == bin && cache->top != cache->limit)
		return true;
	tidep_pool_gate_leave(&cache->gate.puts, 0);
	return false;
}

/* What is left of a put that hits: the reset, outside the cache, and a place for the object. */
static void
finish_hooked(struct tide_pool *pool, struct tidep_cache *cache, const struct tidep_entry *entry,
	      size_t used, bool noted)
{
	const struct tidep_bin *bin = cache->bin;
	bool is_good;

	tidep_arena_guard_take(pool, entry->obj, pool->object_bytes);
	is_good = tidep_pool_object_reset(pool, entry, used);
	if (is_good && find_place(pool, cache, bin)) {
		/* Inside the gate: who is cancelled between the two is known by that. */
		if (noted)
			drop_from_hand(noted);
		tidep_pool_push(cache, entry->obj, entry->word, entry->idle);
		if (!noted)
			drop_from_hand(noted);
		return;
	}
	tidep_pool_shield();
	drop_from_hand(noted);
	if (is_good) {
		store(pool, entry->obj);
	} else {
		struct tidep_object object = tidep_pool_object_of(entry->obj);

		tidep_pool_object_let_go(pool, &object, true);
		count_put(pool, cache);
	}
	tidep_pool_unshield();
}

void
tidep_pool_put_hooked(struct tide_pool *pool, void *obj, size_t used)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_entry entry = { .obj = obj };
	struct tidep_granule *granule;
	int saved = errno;
	uint64_t was = 0;
	bool noted;

	/* As on the fast path, but without the gate: no place in the cache is needed yet. */
	if (used > pool->object_bytes || !tidep_arena_granule_in_first(obj, &granule) ||
	    tidep_pool_gate_is_inside(&cache->gate) ||
	    !tidep_arena_word_at(granule, obj, &entry.word)) {
		tidep_pool_put_slow(pool, obj, used, 0);
		return;
	}
	was = atomic_load_explicit(entry.word, memory_order_acquire);
	entry.idle = was + pool->put_step;
	if (tidep_arena_bin_of(granule) != cache->bin ||
	    !tidep_arena_is_word_of(granule, obj, entry.word) ||
	    !tidep_arena_can_put(was, pool->end_life)) {
		tidep_pool_put_slow(pool, obj, used, 0);
		return;
	}
	tidep_pool_hand_fill();
	noted = take_in_hand(obj);
	if (!tidep_arena_slot_put(entry.word, was, pool->put_step)) {
		drop_from_hand(noted);
		tidep_pool_put_slow(pool, obj, used, tidep_arena_life(was));
	} else {
		finish_hooked(pool, cache, &entry, used, noted);
	}
	tidep_pool_hand_empty();
	errno = saved;
}

int
tidep_pool_put_ref_hooked(struct tide_pool *pool, tide_ref ref, size_t used)
{
	uint64_t live = ref << TIDEP_LIFE_SHIFT | TIDEP_LIVE;
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	struct tidep_object object;
	int saved = errno;
	bool is_ours, noted;

	if (used > pool->object_bytes || tidep_pool_gate_is_inside(&cache->gate) ||
	    tidep_pool_ref_life(ref) >= pool->end_life ||
	    !tidep_pool_ref_find(pool, ref, &object) ||
	    tidep_arena_bin_of(object.granule) != cache->bin)
		return tidep_pool_put_ref_slow(pool, ref, used);
	object.entry.idle = live + pool->put_step;
	tidep_pool_hand_fill();
	noted = take_in_hand(object.entry.obj);
	is_ours = tidep_arena_slot_put(object.entry.word, live, pool->put_step);
	if (is_ours)
		finish_hooked(pool, cache, &object.entry, used, noted);
	else
		drop_from_hand(noted);
	tidep_pool_hand_empty();
	errno = saved;
	return is_ours ? 0 : tidep_pool_put_ref_slow(pool, ref, used);
}

__attribute__((noinline)) void
tidep_pool_put_slow(struct tide_pool *pool, void *obj, size_t used, uint64_t life)
{
	int saved = errno;

	if (obj == NULL || tidep_pool_is_reentered(pool, obj, "a put"))
		return;
	tidep_pool_shield();
	tidep_pool_hand_fill();
	if (find_and_end(pool, obj, used, life, TIDEP_LEAVING) == ENDED_IN_HAND)
		tidep_pool_object_put(pool, obj, used);
	tidep_pool_hand_empty();
	tidep_pool_unshield();
	errno = saved;
}

int
tidep_pool_put_ref_slow(struct tide_pool *pool, tide_ref ref, size_t used)
{
	struct tidep_object object;
	int saved = errno;
	enum ended ended;

	/* Stale comes first: whatever else is wrong with the call is nobody's then. */
	if (!tidep_pool_ref_find(pool, ref, &object) || !tidep_pool_is_live(&object))
		return -ESTALE;
	if (tidep_pool_is_reentered(pool, object.entry.obj, "a put"))
		return -EDEADLK;
	if (used > pool->object_bytes) {
		report_overflow(pool, object.entry.obj, used);
		return -EINVAL;
	}
	tidep_pool_shield();
	tidep_pool_hand_fill();
	ended = end_life(pool, object.entry.word, object.life, TIDEP_LEAVING);
	if (ended == ENDED_IN_HAND)
		tidep_pool_object_put(pool, object.entry.obj, used);
	tidep_pool_hand_empty();
	tidep_pool_unshield();
	errno = saved;
	return ended == ENDED_NOT ? -ESTALE : 0;
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

int
tide_put_ref(tide_pool *pool, tide_ref ref)
{
	return tidep_pool_put_ref_fast(pool, ref, pool->object_bytes);
}

int
tide_put_ref_used(tide_pool *pool, tide_ref ref, size_t used)
{
	return tidep_pool_put_ref_fast(pool, ref, used);
}

void
tide_discard(tide_pool *pool, void *obj)
{
	int saved = errno;

	if (obj == NULL || tidep_pool_is_reentered(pool, obj, "a discard"))
		return;
	tidep_pool_shield();
	tidep_pool_hand_fill();
	if (find_and_end(pool, obj, 0, 0, TIDEP_BREAKING) == ENDED_IN_HAND)
		tidep_pool_object_discard(pool, obj);
	tidep_pool_hand_empty();
	tidep_pool_unshield();
	errno = saved;
}
