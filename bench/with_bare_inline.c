/* SPDX-License-Identifier: MIT */
/* Contender bare-inline: the thread-local stack, inlined into the loops. */
#include "bench/bare.h"
#include "bench/harness.h"

#define CONTENDER_HANDS_OVER 0

const char bench_contender[] = "bare-inline";

static __thread struct bare_stack stack;

static inline void *
contender_get(void)
{
	return bare_pop(&stack);
}

static inline void
contender_put(void *obj)
{
	bare_push(&stack, obj);
}

#include "bench/cells.h"

void
bench_start(void)
{
}

void
bench_thread_start(void)
{
	if (bare_fill(&stack) != 0)
		bench_die("bare_fill");
}
