/* SPDX-License-Identifier: MIT */
/*
 * Contender bare: the thread-local stack behind a shared library's calls; with
 * CONTENDER_RMW, bare-rmw: the one whose puts are a compare-and-swap too.
 */
#include "bench/bare.h"
#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 0

#ifdef CONTENDER_RMW
const char bench_contender[] = "bare-rmw";
#define GET bare_rmw_get
#define PUT bare_rmw_put
#else
const char bench_contender[] = "bare";
#define GET bare_get
#define PUT bare_put
#endif

static inline void *
contender_get(void)
{
	return GET();
}

static inline void
contender_put(void *obj)
{
	PUT(obj);
}

#include "bench/cells.h"

void
bench_start(void)
{
}

void
bench_thread_start(void)
{
	if (bare_thread_start() != 0)
		bench_die("bare_thread_start");
}
