/* SPDX-License-Identifier: MIT */
/*
 * The countdown of the fault seam. Any thread may ask; only a test arms it.
 * Nothing is ordered by it, so everything is relaxed: the exchange alone makes
 * sure that exactly one asking is the Nth.
 */
#include "config.h"

#include "numa/fault.h"

_Atomic int64_t tidep_numa_fault_in;
_Atomic uint64_t tidep_numa_fault_asked;

bool
tidep_numa_fault_slow(void)
{
	int64_t left = atomic_load_explicit(&tidep_numa_fault_in, memory_order_relaxed);

	atomic_fetch_add_explicit(&tidep_numa_fault_asked, 1, memory_order_relaxed);
	while (left > 0) {
		/* 1 goes to -1, past 0, which would stop the counting. */
		int64_t next = left == 1 ? -1 : left - 1;

		if (atomic_compare_exchange_weak_explicit(&tidep_numa_fault_in, &left, next,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return left == 1;
	}
	return false;
}
