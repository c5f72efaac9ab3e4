/* SPDX-License-Identifier: MIT */
/*
 * Contender mimalloc: mi_malloc, and mi_free after clearing the object. It is
 * linked directly, so this program's malloc is mimalloc's too; that is why it
 * is a program of its own.
 */
/*
 * Contender mimalloc: mi_malloc, and mi_free after clearing the object, as glibc does it.
 * clear too, but goes round the thread cache; this is the faster way to do
 * the same work.
 */
#include <mimalloc.h>
#include <string.h>

#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 1

const char bench_contender[] = "mimalloc";

static inline void *
contender_get(void)
{
	return mi_malloc(BENCH_OBJECT_BYTES);
}

static inline void
contender_put(void *obj)
{
	memset(obj, 0, BENCH_OBJECT_BYTES);
	bench_escape(obj); /* or the compiler drops what mi_free() makes dead */
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
