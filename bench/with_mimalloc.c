/* SPDX-License-Identifier: MIT */
/*
 * Contender mimalloc: mi_malloc, and mi_free after clearing the object; with
 * CONTENDER_CALLOC, mimalloc-calloc: mi_calloc and mi_free. See with_glibc.c. It
 * is linked directly, so this program's malloc is mimalloc's too; that is why
 * it is a program of its own.
 */
/*
 * Contender glibc: malloc, and free after clearing the object. That clears as
 * often as the others do, but what malloc returns is not zero: free keeps its
 * links in the object. With CONTENDER_CALLOC, glibc-calloc: calloc and free,
 * which promises what tide_get does.
 */
/*
 * Contender glibc: malloc, and free after clearing the object. calloc would
 * clear too, but goes round the thread cache; this is the faster way to do
 * the same work.
 */
#include <mimalloc.h>
#include <string.h>

#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 1

#ifdef CONTENDER_CALLOC
const char bench_contender[] = "mimalloc-calloc";
#else
const char bench_contender[] = "mimalloc";
#endif

static inline void *
contender_get(void)
{
#ifdef CONTENDER_CALLOC
	return mi_calloc(1, BENCH_OBJECT_BYTES);
#else
	return mi_malloc(BENCH_OBJECT_BYTES);
#endif
}

static inline void
contender_put(void *obj)
{
#ifndef CONTENDER_CALLOC
	memset(obj, 0, BENCH_OBJECT_BYTES);
	bench_escape(obj); /* or the compiler drops what mi_free() makes dead */
#endif
	mi_free(obj);
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
