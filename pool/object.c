/* SPDX-License-Identifier: MIT */
/*
 * One object in hand: found by its address, reset, made, let go, reported.
 * Nothing here touches a cache, and no lock is held around a hook.
 */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include "numa/record.h"
#include "pool/misuse.h"
#include "pool/thread.h"

#define DETAIL_BYTES 192

int
tide_reset_zero(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	return 0;
}

int
tide_reset_wipe(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	explicit_bzero(obj, used);
	return 0;
}

struct tidep_object
tidep_pool_object_of(void *obj)
{
	struct tidep_granule *granule = tidep_arena_granule_of(obj);
	tidep_word *word = NULL;

	tidep_arena_word_at(granule, obj, &word);
	return (struct tidep_object){
		.granule = granule,
		.slot = (uint32_t)(word - tidep_arena_words_of(granule)),
		.entry = {
			.obj = obj,
			.word = word,
			.idle = atomic_load_explicit(word, memory_order_relaxed),
		},
	};
}

uint32_t
tidep_pool_object_find(const struct tide_pool *pool, const void *obj, struct tidep_object *object)
{
	struct tidep_granule *granule = tidep_arena_granule_of(obj);
	struct tidep_bin *bin;
	tidep_word *word;
	uint64_t was;

	object->granule = NULL;
	if (granule == NULL || !tidep_arena_word_at(granule, obj, &word) ||
	    word >= tidep_arena_words_of(granule) + granule->slots)
		return TIDE_FOREIGN_PUT;
	/* First the word, then whose slab it is: see arena/slot.h. */
	was = atomic_load_explicit(word, memory_order_acquire);
	bin = tidep_arena_bin_of(granule);
	if (bin == NULL || bin->keeps_slabs || !tidep_arena_is_word_of(granule, obj, word))
		return TIDE_FOREIGN_PUT;
	object->granule = granule;
	object->slot = (uint32_t)(word - tidep_arena_words_of(granule));
	object->life = tidep_arena_life(was);
	object->entry.obj = (void *)(uintptr_t)obj;
	object->entry.word = word;
	if (!tidep_pool_has_bin(pool, bin))
		return TIDE_WRONG_POOL;
	/* A slot that never was given to anybody. */
	return was == 0 ? TIDE_FOREIGN_PUT : 0;
}

void
tidep_pool_object_misuse(uint32_t kind, const struct tide_pool *pool, const void *obj,
			 const char *detail)
{
	struct tidep_object object;
	char label[TIDEP_NAME_BYTES];
	char text[DETAIL_BYTES];
	uint64_t generation = 0;
	tide_ref ref = 0;

	tidep_pool_object_find(pool, obj, &object);
	if (object.granule != NULL) {
		struct tidep_bin *bin = tidep_arena_bin_of(object.granule);
		uint64_t word = atomic_load_explicit(object.entry.word, memory_order_relaxed);

		ref = tidep_arena_last_ref(object.granule, word, &generation);
		if (kind == TIDE_WRONG_POOL && bin != NULL) {
			tidep_pool_owner_label(bin, label);
			snprintf(text, sizeof(text), "it belongs to pool '%s'", label);
			detail = text;
		}
	}
	tidep_pool_misuse(kind, pool->label, obj, ref, generation, detail);
}

/*
 * With TIDEDEBUG=verifyreset=1: what is wrong with a reset object? Beyond what was
 * used, zero bytes can be asked for only where no init has left others.
 */
static bool
is_dirty(const struct tide_pool *pool, const void *obj, size_t used, char *text)
{
	size_t end = pool->init == NULL ? pool->object_bytes : used;
	const unsigned char *bytes = obj;
	size_t i = 0;

	if (pool->verify != NULL) {
		if (pool->verify(obj, pool->ctx))
			return false;
		snprintf(text, DETAIL_BYTES, "the verify hook refuses it after reset");
		return true;
	}
	if (pool->reset != tide_reset_zero && pool->reset != tide_reset_wipe)
		return false;
	while (i < end && bytes[i] == 0)
		i++;
	if (i == end)
		return false;
	snprintf(text, DETAIL_BYTES, "byte %zu is 0x%02x after reset", i, bytes[i]);
	return true;
}

static bool
reset_and_check(struct tide_pool *pool, void *obj, size_t used)
{
	char text[DETAIL_BYTES];

	if (pool->reset(obj, used, pool->ctx) != 0) {
		tidep_count_shared(&pool->counts.broken);
		return false;
	}
	if (!pool->checks_reset || !is_dirty(pool, obj, used, text)) {
		tidep_arena_guard_shut(obj, pool->stride);
		return true;
	}
	/* It is put already: if the handler returns, it is let go, not reused. */
	tidep_pool_object_misuse(TIDE_DIRTY_RESET, pool, obj, text);
	tidep_count_shared(&pool->counts.broken);
	return false;
}

__attribute__((noinline)) bool
tidep_pool_object_reset(struct tide_pool *pool, const struct tidep_entry *entry, size_t used)
{
	struct tidep_hand hand;
	bool is_good;

	tidep_pool_hand_show(&hand, pool, entry->word, TIDEP_HANDED_LIVE);
	is_good = reset_and_check(pool, entry->obj, used);
	tidep_pool_hand_hide(&hand);
	return is_good;
}

bool
tidep_pool_object_is_used_up(const struct tidep_object *object)
{
	const struct tidep_bin *bin = tidep_arena_bin_of(object->granule);
	uint64_t word = atomic_load_explicit(object->entry.word, memory_order_relaxed);

	return tidep_arena_life(word) >= bin->geometry.used_up;
}

static void
return_slot(const struct tidep_object *object)
{
	struct tidep_run run = { .granule = object->granule, .first = object->slot, .slots = 1 };

	tidep_arena_bin_release(tidep_arena_bin_of(object->granule), &run);
}

int
tidep_pool_object_make(struct tide_pool *pool, const struct tidep_object *object)
{
	struct tidep_hand hand;
	int err = 0;

	tidep_arena_guard_lend(pool, object->entry.obj, pool->object_bytes);
	if (pool->init != NULL) {
		tidep_pool_hand_show(&hand, pool, object->entry.word, TIDEP_HANDED_SLOT);
		err = pool->init(object->entry.obj, pool->ctx);
		tidep_pool_hand_hide(&hand);
	}
	if (err != 0) {
		tidep_arena_guard_take(pool, object->entry.obj, pool->object_bytes);
		/* Whatever init left in it is nobody's. */
		tidep_pool_hide();
		tidep_arena_bin_clear(tidep_arena_bin_of(object->granule), object->granule,
				      object->slot, true);
		return_slot(object);
		tidep_pool_unhide();
		atomic_fetch_sub_explicit(&pool->objs, 1, memory_order_relaxed);
		return err;
	}
	tidep_arena_slot_birth(object->entry.word, object->granule->first_life + object->slot);
	atomic_fetch_add_explicit(&pool->created, 1, memory_order_relaxed);
	return 0;
}

void
tidep_pool_object_finish(struct tide_pool *pool, void *obj, const tidep_word *word,
			 enum tidep_handed handed)
{
	struct tidep_hand hand;

	if (pool->fini == NULL)
		return;
	/* It may have been at rest, or be in hand already. */
	tidep_arena_guard_open(obj, pool->object_bytes);
	tidep_pool_hand_show(&hand, pool, word, handed);
	pool->fini(obj, pool->ctx);
	tidep_pool_hand_hide(&hand);
}

void
tidep_pool_object_let_go(struct tide_pool *pool, const struct tidep_object *object, bool was_live)
{
	struct tidep_bin *bin = tidep_arena_bin_of(object->granule);
	bool is_used_up = tidep_pool_object_is_used_up(object);

	tidep_pool_object_finish(pool, object->entry.obj, object->entry.word,
				 was_live ? TIDEP_HANDED_LIVE : TIDEP_HANDED_IDLE);
	tidep_pool_hide();
	tidep_arena_bin_clear(bin, object->granule, object->slot, !is_used_up);
	if (is_used_up) {
		tidep_arena_slot_retire(object->entry.word);
		tidep_arena_bin_retire(bin, object->granule);
	} else {
		tidep_arena_slot_letgo(object->entry.word);
		return_slot(object);
	}
	tidep_pool_unhide();
	atomic_fetch_add_explicit(&pool->released, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&pool->objs, 1, memory_order_relaxed);
}
