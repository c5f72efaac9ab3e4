/* SPDX-License-Identifier: MIT */
/*
 * Refs: pinning, unpinning, asking, and the walk over all live objects. No
 * lock is taken here, and no memory of an object is touched: a ref is judged by
 * its slot's word alone, which lies where arithmetic says.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>

#include "pool/thread.h"

/* The slot of a ref in the first space: false, and *object untouched, for others. */
static inline bool
find_ref_in_first(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object)
{
	struct tidep_granule *granule;

	if (!tidep_arena_granule_numbered_in_first(tidep_pool_ref_number(ref), &granule) ||
	    !tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)))
		return false;
	tidep_pool_ref_slot(pool, &tidep_arena_spaces[0], tidep_pool_ref_number(ref), ref, object);
	return true;
}

__attribute__((noinline)) bool
tidep_pool_ref_find(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object)
{
	struct tidep_granule *granule = tidep_arena_granule_numbered(tidep_pool_ref_number(ref));
	const struct tidep_space *space;

	if (granule == NULL || !tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)))
		return false;
	space = tidep_arena_space_of(granule);
	tidep_pool_ref_slot(pool, space, (size_t)(granule - space->granules), ref, object);
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
	const struct tidep_granule *first;

	if (tidep_pool_object_find(pool, obj, &object) != 0 || !tidep_pool_is_live(&object))
		return 0;
	first = tidep_arena_granule_of(tidep_arena_base_of(object.granule));
	return tidep_arena_ref_in(tidep_arena_space_of(first), first, object.life);
}

void *
tide_get_ref(tide_pool *pool, tide_ref *ref)
{
	*ref = 0;
	return tidep_pool_get_fast(pool, ref);
}

void *
tide_pin(tide_pool *pool, tide_ref ref)
{
	struct tidep_object object;
	int err = -ESTALE;

	if (find_ref(pool, ref, &object))
		err = tidep_arena_slot_pin(object.entry.word, object.life,
					   TIDEP_PINS_MAX - TIDEP_PINS_KEPT);
	if (err == 0)
		return object.entry.obj;
	errno = -err;
	return NULL;
}

bool
tide_ref_is_live(const tide_pool *pool, tide_ref ref)
{
	struct tidep_object object;

	return find_ref(pool, ref, &object) && tidep_pool_is_live(&object);
}

/* The last pin of an object that was put is off: it is in hand now. All of it is reset. */
static void
end_pinned(struct tide_pool *pool, void *obj, uint64_t was)
{
	int saved = errno;

	tidep_pool_shield();
	/* Who had it pinned may have written anywhere. */
	if (tidep_arena_state(was) == TIDEP_LEAVING)
		tidep_pool_object_put(pool, obj, pool->object_bytes);
	else
		tidep_pool_object_discard(pool, obj);
	tidep_pool_unshield();
	errno = saved;
}

/* Takes the caller's pin off. false: it has none. */
static bool
unpin(struct tide_pool *pool, void *obj, tidep_word *word)
{
	bool was_pinned;
	uint64_t was;

	tidep_pool_hand_fill();
	was_pinned = tidep_arena_slot_unpin(word, &was);
	if (was_pinned && tidep_arena_pins(was) == 1 && tidep_arena_state(was) != TIDEP_LIVE)
		end_pinned(pool, obj, was);
	tidep_pool_hand_empty();
	return was_pinned;
}

void
tide_unpin(tide_pool *pool, void *obj)
{
	struct tidep_object object;
	uint32_t kind;

	/* It may be the last one of an object that was put, which is as much as a put. */
	if (obj == NULL || tidep_pool_is_reentered(pool, obj, "an unpin"))
		return;
	kind = tidep_pool_object_find(pool, obj, &object);
	if (kind == 0 && unpin(pool, obj, object.entry.word))
		return;
	tidep_pool_object_misuse(kind == TIDE_WRONG_POOL ? kind : TIDE_BAD_UNPIN, pool, obj,
				 kind == 0 ? "it is not pinned"
					   : "it is not the start of an object of any pool");
}

/* A walk over the live objects of a pool. */
struct walk {
	struct tide_pool *pool;
	int (*fn)(void *obj, tide_ref ref, void *arg);
	void *arg;
	size_t visited;
	bool is_over;
};

/*
 * A slab begins in this granule, or did: is it the pool's? It may go any time, and
 * another pool's come; but an object that lives all along keeps its slab.
 */
static bool
is_slab_of(const struct tide_pool *pool, const struct tidep_space *space,
	   const struct tidep_granule *granule)
{
	return tidep_pool_has_bin(pool, tidep_arena_bin_of(granule)) &&
	       tidep_arena_base_of(granule) == tidep_arena_base_in(space, granule);
}

/* Visits what lives in one slot. Whose it is is asked between the look and the pin. */
static void
visit_slot(struct walk *walk, const struct tidep_space *space, struct tidep_granule *granule,
	   uint32_t slot)
{
	char *obj = tidep_arena_base_in(space, granule) + (size_t)slot * walk->pool->stride;
	tidep_word *word = tidep_arena_words_in(space, granule) + slot;
	uint64_t life;

	if (!tidep_arena_slot_look(word, &life) || !is_slab_of(walk->pool, space, granule))
		return;
	for (;;) {
		switch (tidep_arena_slot_pin(word, life, TIDEP_PINS_MAX)) {
		case 0:
			walk->visited++;
			walk->is_over = walk->fn(obj, tidep_arena_ref_in(space, granule, life),
						 walk->arg) != 0;
			unpin(walk->pool, obj, word);
			return;
		case -ESTALE:
			/* That life is over; the next one began during our walk. */
			return;
		default:
			/* A thousand walks at it, and a million pins besides: one will go. */
			sched_yield();
		}
	}
}

size_t
tide_pool_each(tide_pool *pool, int (*fn)(void *obj, tide_ref ref, void *arg), void *arg)
{
	struct walk walk = { .pool = pool, .fn = fn, .arg = arg };
	struct tidep_granule *granule;
	uint64_t cursor = 0;

	if (tidep_pool_is_reentered(pool, NULL, "a walk"))
		return 0;
	/* A thread that is cancelled in fn would leave its pin. */
	tidep_pool_shield();
	while (!walk.is_over && (granule = tidep_arena_granule_next(&cursor)) != NULL) {
		const struct tidep_space *space = tidep_arena_space_of(granule);
		uint32_t slots = pool->depot[0].bin.geometry.slots;

		if (!is_slab_of(pool, space, granule))
			continue;
		for (uint32_t slot = 0; slot < slots && !walk.is_over; slot++)
			visit_slot(&walk, space, granule, slot);
	}
	tidep_pool_unshield();
	return walk.visited;
}
