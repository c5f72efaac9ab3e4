/* SPDX-License-Identifier: MIT */
/*
 * alloc.h - the one place that knows where the server's objects come from.
 *
 * Three kinds: connections, fixed I/O blocks, compression contexts. With
 * --allocator=pool each kind is a tide_pool. With --allocator=malloc an object
 * is made for each get (calloc, so that both hand out zero bytes, then init)
 * and unmade for each put (fini, then free), as a server without pools does.
 *
 * An object that libuv has handles in is *held*: it outlives its owner's end of
 * it until libuv is done, while those who have its ref find it gone at once.
 * With malloc a ref is the bare pointer, which always resolves; so it may be
 * where libuv keeps it, in the object itself, and nowhere else.
 */
#ifndef ALLOC_H
#define ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tide.h>

enum alloc_kind { ALLOC_CONN, ALLOC_BLOCK, ALLOC_CONTEXT, ALLOC_KINDS };

struct alloc {
	bool pooled;
	tide_pool *pools[ALLOC_KINDS];                /* pooled only */
	struct tide_pool_config configs[ALLOC_KINDS]; /* how each kind is made and unmade */
	_Atomic uint64_t made;                        /* with malloc: objects so far */
};

/* Returns 0 or a negative errno. max_io caps the blocks; 0 = no cap. */
int alloc_create(struct alloc *alloc, bool pooled, size_t max_io);

/* Returns 0, or -EBUSY while an object of a pool is still out. */
int alloc_destroy(struct alloc *alloc);

/* NULL: no memory. Any thread. */
void *alloc_get(struct alloc *alloc, enum alloc_kind kind);

/* Only the first `used` bytes were written. Any thread. */
void alloc_put(struct alloc *alloc, enum alloc_kind kind, void *obj, size_t used);

/* As alloc_get(), held. Its owner calls alloc_end() once, then alloc_let_go() once. */
void *alloc_get_held(struct alloc *alloc, enum alloc_kind kind, tide_ref *ref);

/* From now on the ref is stale; with malloc only once it is let go. */
void alloc_end(struct alloc *alloc, enum alloc_kind kind, tide_ref ref);

/* Nothing in it is in use any more. The pointer is nobody's after this. */
void alloc_let_go(struct alloc *alloc, enum alloc_kind kind, void *obj);

/* A held object by its ref, good until the unpin; NULL: it has ended. Any thread. */
void *alloc_pin(struct alloc *alloc, enum alloc_kind kind, tide_ref ref);
void alloc_unpin(struct alloc *alloc, enum alloc_kind kind, void *obj);

/*
 * Calls fn for all that live, of whatever thread, as tide_pool_each() does.
 * False: they came from malloc, and nobody knows them but their owners.
 */
bool alloc_each(struct alloc *alloc, enum alloc_kind kind,
		int (*fn)(void *obj, tide_ref ref, void *arg), void *arg);

#endif
