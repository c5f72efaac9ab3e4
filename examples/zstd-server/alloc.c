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
make(const struct tide_pool_config *config)
{
	void *obj = calloc(1, config->object_bytes);

	if (obj && config->init && config->init(obj, config->ctx)) {
		free(obj);
		return NULL;
	}
	return obj;
}

void *
alloc_get(struct alloc *alloc, enum alloc_kind kind)
{
	return alloc->pooled ? tide_get(alloc->pools[kind]) : make(&alloc->configs[kind]);
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
