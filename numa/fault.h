/* SPDX-License-Identifier: MIT */
/*
 * The seam of every allocation and mapping: whoever asks the machine for
 * something that can be refused asks tidep_numa_fault() first. A test counts
 * the askings and has the Nth one refused; in production the countdown stays
 * at 0 and the question costs a load.
 */
#ifndef TIDEP_NUMA_FAULT_H
#define TIDEP_NUMA_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * 0: off. N > 0: the Nth asking from now on is refused, once, and leaves -1.
 * Negative: nothing is refused, but askings are still counted until a test
 * stores 0 again.
 */
extern _Atomic int64_t tidep_numa_fault_in;
/* How often anybody asked while the countdown was not 0. */
extern _Atomic uint64_t tidep_numa_fault_asked;

bool tidep_numa_fault_slow(void);

/* true: behave as if the machine had refused. */
static inline bool
tidep_numa_fault(void)
{
	if (atomic_load_explicit(&tidep_numa_fault_in, memory_order_relaxed) == 0)
		return false;
	return tidep_numa_fault_slow();
}

#endif
