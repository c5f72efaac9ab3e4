/* SPDX-License-Identifier: MIT */
/* Contender bare: the thread-local stack behind a shared library's calls. */
#include "bench/bare.h"
#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 0

const char bench_contender[] = "bare";

static inline void *
contender_get(void)
{
	return bare_get();
}

static inline void
contender_put(void *obj)
{
	bare_put(obj);
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
