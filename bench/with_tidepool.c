/* SPDX-License-Identifier: MIT */
/* Contender tidepool: a pool that clears, called through its shared library. */
#include <tide.h>

#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 1

const char bench_contender[] = "tidepool";

static tide_pool *pool;

static inline void *
contender_get(void)
{
	return tide_get(pool);
}

static inline void
contender_put(void *obj)
{
	tide_put(pool, obj);
}

#include "bench/cells.h"

void
bench_start(void)
{
	pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "bench",
		.object_bytes = BENCH_OBJECT_BYTES,
		.reset = tide_reset_zero,
	});
	if (pool == NULL)
		bench_die("tide_pool_create");
}

void
bench_thread_start(void)
{
}
