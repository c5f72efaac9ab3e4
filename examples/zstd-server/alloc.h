/* SPDX-License-Identifier: MIT */
/*
 * alloc.h - the one place that knows where the server's objects come from.
 *
 * Three kinds: connections, fixed I/O blocks, compression contexts. With
 * --allocator=pool each kind is a tide_pool. With --allocator=malloc an object
 * is made for each get (calloc, so that both hand out zero bytes, then init)
 * and unmade for each put (fini, then free), as a server without pools does.
 */
#ifndef ALLOC_H
#define ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <tide.h>

enum alloc_kind { ALLOC_CONN, ALLOC_BLOCK, ALLOC_CONTEXT, ALLOC_KINDS };

struct alloc {
	bool pooled;
	tide_pool *pools[ALLOC_KINDS];                /* pooled only */
	struct tide_pool_config configs[ALLOC_KINDS]; /* how each kind is made and unmade */
};

/* Returns 0 or a negative errno. max_io caps the blocks; 0 = no cap. */
int alloc_create(struct alloc *alloc, bool pooled, size_t max_io);

/* Returns 0, or -EBUSY while an object of a pool is still out. */
int alloc_destroy(struct alloc *alloc);

/* NULL: no memory. Any thread. */
void *alloc_get(struct alloc *alloc, enum alloc_kind kind);

/* Only the first `used` bytes were written. Any thread. */
void alloc_put(struct alloc *alloc, enum alloc_kind kind, void *obj, size_t used);

#endif
