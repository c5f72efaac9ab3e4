/* SPDX-License-Identifier: MIT */
/*
 * Contender glibc: malloc, and free after clearing the object. calloc would
 * clear too, but goes round the thread cache; this is the faster way to do
 * the same work.
 */
#include <stdlib.h>
#include <string.h>

#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 1

const char bench_contender[] = "glibc";

static inline void *
contender_get(void)
{
	return malloc(BENCH_OBJECT_BYTES);
}

static inline void
contender_put(void *obj)
{
	memset(obj, 0, BENCH_OBJECT_BYTES);
	bench_escape(obj); /* or the compiler drops what free() makes dead */
	free(obj);
}

#include "bench/cells.h"

void
bench_start(void)
{
}

void
bench_thread_start(void)
{
}
