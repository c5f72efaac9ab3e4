/* SPDX-License-Identifier: MIT */
/*
 * Gets and puts of many objects: the single ones in a loop, so that every
 * promise of theirs holds.
 */
#include "config.h"

#include <errno.h>

#include "pool/cache.h"

int
tide_get_bulk(tide_pool *pool, void **objs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		objs[i] = tidep_pool_get_fast(pool);
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

void
tide_put_bulk(tide_pool *pool, void *const *objs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tidep_pool_put_fast(pool, objs[i], pool->object_bytes);
}
