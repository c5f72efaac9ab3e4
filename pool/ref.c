/* SPDX-License-Identifier: MIT */
/*
 * Refs: pinning, unpinning, asking, and the walk over all live objects. No
 * lock is taken here, and no memory of an object is touched: a ref is judged by
 * its slot's word alone, which lies where arithmetic says.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>

#include "pool/cache.h"

/* The slot of a ref in the first space: false, and *object untouched, for others. */
static inline bool
find_ref_in_first(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object)
{
	struct tidep_granule *granule;

	if (!tidep_arena_granule_numbered_in_first(ref >> TIDEP_REF_BITS, &granule) ||
	    !tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)))
		return false;
	tidep_pool_ref_slot(pool, &tidep_arena_spaces[0], granule, ref, object);
	return true;
}

__attribute__((noinline)) bool
tidep_pool_ref_find(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object)
{
	struct tidep_granule *granule = tidep_arena_granule_numbered(ref >> TIDEP_REF_BITS);

	if (granule == NULL || !tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)))
		return false;
	tidep_pool_ref_slot(pool, tidep_arena_space_of(granule), granule, ref, object);
	return true;
}

static inline bool
find_ref(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object)
{
	return find_ref_in_first(pool, ref, object) || tidep_pool_ref_find(pool, ref, object);
}

tide_ref
tide_ref_of(const tide_pool *pool, const void *obj)
{
	struct tidep_object object;
	uint64_t word;

	if (tidep_pool_object_find(pool, obj, &object) != 0)
		return 0;
	word = atomic_load_explicit(object.entry.word, memory_order_relaxed);
	if (tidep_arena_state(word) != TIDEP_LIVE)
		return 0;
	return tidep_arena_ref(object.granule, object.slot, tidep_arena_generation(word));
}

void *
tide_get_ref(tide_pool *pool, tide_ref *ref)
{
	void *obj = tidep_pool_get_fast(pool);

	*ref = obj != NULL ? tide_ref_of(pool, obj) : 0;
	return obj;
}

void *
tide_pin(tide_pool *pool, tide_ref ref)
{
	struct tidep_object object;
	int err = -ESTALE;

	if (find_ref(pool, ref, &object))
		err = tidep_arena_slot_pin(object.entry.word,
					   tidep_pool_ref_generation(pool, ref));
	if (err == 0)
		return object.entry.obj;
	errno = -err;
	return NULL;
}

bool
tide_ref_is_live(const tide_pool *pool, tide_ref ref)
{
	struct tidep_object object;
	uint64_t word;

	if (!find_ref(pool, ref, &object))
		return false;
	word = atomic_load_explicit(object.entry.word, memory_order_acquire);
	return tidep_arena_generation(word) == tidep_pool_ref_generation(pool, ref) &&
	       tidep_arena_state(word) == TIDEP_LIVE;
}

/* Takes the caller's pin off; the last one of an object that was put puts it. */
static bool
unpin(struct tide_pool *pool, void *obj, tidep_word *word)
{
	int saved = errno;
	uint64_t was;

	if (!tidep_arena_slot_unpin(word, &was))
		return false;
	if (tidep_arena_pins(was) > 1 || tidep_arena_state(was) == TIDEP_LIVE)
		return true;
	/* All of it: who had it pinned may have written anywhere. */
	if (tidep_arena_state(was) == TIDEP_LEAVING)
		tidep_pool_object_put(pool, obj, pool->object_bytes);
	else
		tidep_pool_object_discard(pool, obj);
	errno = saved;
	return true;
}

void
tide_unpin(tide_pool *pool, void *obj)
{
	struct tidep_object object;
	uint32_t kind;

	if (obj == NULL)
		return;
	kind = tidep_pool_object_find(pool, obj, &object);
	if (kind == 0 && unpin(pool, obj, object.entry.word))
		return;
	tidep_pool_object_misuse(kind == TIDE_WRONG_POOL ? kind : TIDE_BAD_UNPIN, pool, obj,
				 kind == 0 ? "it is not pinned"
					   : "it is not the start of an object of any pool");
}

/* Pins whatever life the slot is in now, and names it; false: none, or put just now. */
static bool
pin_live(tidep_word *word, uint64_t *generation)
{
	for (;;) {
		uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

		if (tidep_arena_state(was) != TIDEP_LIVE)
			return false;
		*generation = tidep_arena_generation(was);
		switch (tidep_arena_slot_pin(word, *generation)) {
		case 0:
			return true;
		case -ESTALE:
			/* That life is over; the next one began during our walk. */
			return false;
		default:
			/* As many pins as there can be: one will go. */
			sched_yield();
		}
	}
}

size_t
tide_pool_each(tide_pool *pool, int (*fn)(void *obj, tide_ref ref, void *arg), void *arg)
{
	struct tidep_granule *granule;
	uint64_t cursor = 0;
	size_t visited = 0;

	while ((granule = tidep_arena_granule_next(&cursor)) != NULL) {
		const struct tidep_space *space;
		uint64_t generation;
		tidep_word *words;
		uint32_t slots;

		/*
		 * A slab's first granule. It may be gone any time, but an object
		 * that lives all along keeps its slab.
		 */
		space = tidep_arena_space_of(granule);
		if (!tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)) ||
		    tidep_arena_base_of(granule) != tidep_arena_base_in(space, granule))
			continue;
		words = tidep_arena_words_in(space, granule);
		slots = pool->depot[0].bin.geometry.slots;
		for (uint32_t slot = 0; slot < slots; slot++) {
			char *obj = tidep_arena_base_in(space, granule) + (size_t)slot * pool->stride;
			int stop;

			if (!pin_live(&words[slot], &generation))
				continue;
			visited++;
			stop = fn(obj, tidep_arena_ref_at(space, granule, slot, pool->index_bits,
							  generation),
				  arg);
			unpin(pool, obj, &words[slot]);
			if (stop != 0)
				return visited;
		}
	}
	return visited;
}
