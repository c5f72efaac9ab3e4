/* SPDX-License-Identifier: MIT */
/*
 * Contender rmw, which is no pool: one atomic compare-and-swap of a word on a
 * line that nobody else touches. What a put may cost beside the bare stack.
 */
#include <stdatomic.h>

#include "bench/harness.h"

const char bench_contender[] = "rmw";

static _Alignas(128) _Atomic uint64_t word;

static void
run_rmw(struct bench_thread *thread, uint64_t n)
{
	uint64_t was = atomic_load_explicit(&word, memory_order_relaxed);

	(void)thread;
	for (uint64_t i = 0; i < n; i++) {
		if (!atomic_compare_exchange_strong_explicit(
			    &word, &was, was + 1, memory_order_acq_rel, memory_order_relaxed))
			bench_die("an uncontended compare-and-swap");
		was++;
	}
}

const struct bench_cell bench_cells[] = {
	{ "rmw", 1, 1, 31, 1 << 18, NULL, run_rmw, NULL },
	{ 0 },
};

void
bench_start(void)
{
}

void
bench_thread_start(void)
{
}
