/* SPDX-License-Identifier: MIT */
/*
 * Gets and puts of many objects. A bulk get enters the gate once for all that
 * the loaded magazine has, and gets the next one singly, which reloads it. Both are
 * shielded: who is cancelled in the middle could not know which of them it has.
 */
#include "config.h"

#include <errno.h>

#include "pool/thread.h"

/* At most n hits; returns how many. */
static size_t
get_hits(struct tide_pool *pool, void **objs, size_t n)
{
	struct tidep_cache *cache = tidep_pool_cache_of(pool);
	size_t got = 0;

	if (!tidep_pool_gate_enter_weak(&cache->gate, &cache->gate.gets))
		return 0;
	if (n > (size_t)(cache->top - cache->bottom))
		n = (size_t)(cache->top - cache->bottom);
	for (; got < n; got++) {
		const struct tidep_entry *entry = --cache->top;

		tidep_arena_guard_lend(pool, entry->obj, pool->object_bytes);
		tidep_arena_slot_issue(entry->word, entry->idle);
		objs[got] = entry->obj;
	}
	tidep_pool_gate_leave(&cache->gate.gets, got);
	return got;
}

static int
get_bulk(struct tide_pool *pool, void **objs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		i += get_hits(pool, objs + i, n - i);
		if (i == n)
			break;
		objs[i] = tidep_pool_get_fast(pool, NULL);
		if (objs[i] == NULL) {
			int err = errno;

			while (i-- > 0) {
				/* Nobody has written to it. */
				tidep_pool_put_fast(pool, objs[i], 0);
				objs[i] = NULL;
			}
			return -err;
		}
	}
	return 0;
}

int
tide_get_bulk(tide_pool *pool, void **objs, size_t n)
{
	int err;

	tidep_pool_shield();
	err = get_bulk(pool, objs, n);
	tidep_pool_unshield();
	return err;
}

void
tide_put_bulk(tide_pool *pool, void *const *objs, size_t n)
{
	tidep_pool_shield();
	for (size_t i = 0; i < n; i++)
		tidep_pool_put_fast(pool, objs[i], pool->object_bytes);
	tidep_pool_unshield();
}
