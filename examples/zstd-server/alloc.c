/* SPDX-License-Identifier: MIT */
/* alloc.c - the server's objects, from tidepool or from malloc. */
#include "alloc.h"

#include "chain.h"
#include "compress.h"
#include "conn.h"

#include <errno.h>
#include <stdlib.h>

int
alloc_create(struct alloc *alloc, bool pooled, size_t max_io)
{
	*alloc = (struct alloc){ .pooled = pooled };
	alloc->configs[ALLOC_CONN] = (struct tide_pool_config){
		.name = "connections",
		.object_bytes = sizeof(struct conn),
		.reset = conn_reset,
		.fini = conn_fini,
	};
	alloc->configs[ALLOC_BLOCK] = (struct tide_pool_config){
		.name = "io-blocks",
		.object_bytes = sizeof(struct block),
		.reset = tide_reset_zero,
		.max_bytes = max_io,
	};
	alloc->configs[ALLOC_CONTEXT] = (struct tide_pool_config){
		.name = "zstd-contexts",
		.object_bytes = sizeof(struct context),
		.init = context_init,
		.reset = context_reset,
		.fini = context_fini,
	};
	for (int kind = 0; kind < ALLOC_KINDS; kind++) {
		struct tide_pool_config *config = &alloc->configs[kind];

		config->config_bytes = sizeof(*config);
		config->ctx = alloc;
		if (!pooled)
			continue;
		alloc->pools[kind] = tide_pool_create(config);
		if (!alloc->pools[kind]) {
			int error = -errno;

			alloc_destroy(alloc);
			return error;
		}
	}
	return 0;
}

int
alloc_destroy(struct alloc *alloc)
{
	int error = 0;

	/* In this order: a connection may still hold blocks. */
	for (int kind = 0; kind < ALLOC_KINDS; kind++) {
		if (alloc->pools[kind] && tide_pool_destroy(alloc->pools[kind]))
			error = -EBUSY;
	}
	return error;
}

static void *
make(struct alloc *alloc, enum alloc_kind kind)
{
	const struct tide_pool_config *config = &alloc->configs[kind];
	void *obj = calloc(1, config->object_bytes);

	if (obj && config->init && config->init(obj, config->ctx)) {
		free(obj);
		return NULL;
	}
	if (obj)
		atomic_fetch_add_explicit(&alloc->made, 1, memory_order_relaxed);
	return obj;
}

void *
alloc_get(struct alloc *alloc, enum alloc_kind kind)
{
	return alloc->pooled ? tide_get(alloc->pools[kind]) : make(alloc, kind);
}

void
alloc_put(struct alloc *alloc, enum alloc_kind kind, void *obj, size_t used)
{
	const struct tide_pool_config *config = &alloc->configs[kind];

	if (alloc->pooled) {
		tide_put_used(alloc->pools[kind], obj, used);
		return;
	}
	if (config->fini)
		config->fini(obj, config->ctx);
	free(obj);
}

void *
alloc_get_held(struct alloc *alloc, enum alloc_kind kind, tide_ref *ref)
{
	tide_pool *pool = alloc->pools[kind];
	void *obj = alloc->pooled ? tide_get_ref(pool, ref) : make(alloc, kind);

	if (!obj)
		return NULL;
	if (alloc->pooled)
		tide_pin(pool, *ref); /* cannot fail: it lives, and has no pins to speak of */
	else
		*ref = (uintptr_t)obj;
	return obj;
}

void
alloc_end(struct alloc *alloc, enum alloc_kind kind, tide_ref ref)
{
	if (alloc->pooled)
		tide_put_ref(alloc->pools[kind], ref);
}

void
alloc_let_go(struct alloc *alloc, enum alloc_kind kind, void *obj)
{
	if (alloc->pooled)
		tide_unpin(alloc->pools[kind], obj);
	else
		alloc_put(alloc, kind, obj, 0);
}

void *
alloc_pin(struct alloc *alloc, enum alloc_kind kind, tide_ref ref)
{
	return alloc->pooled ? tide_pin(alloc->pools[kind], ref) : (void *)(uintptr_t)ref;
}

void
alloc_unpin(struct alloc *alloc, enum alloc_kind kind, void *obj)
{
	if (alloc->pooled)
		tide_unpin(alloc->pools[kind], obj);
}

bool
alloc_each(struct alloc *alloc, enum alloc_kind kind, int (*fn)(void *obj, tide_ref ref, void *arg),
	   void *arg)
{
	if (alloc->pooled)
		tide_pool_each(alloc->pools[kind], fn, arg);
	return alloc->pooled;
}
