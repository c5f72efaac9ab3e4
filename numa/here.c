/* SPDX-License-Identifier: MIT */
/*
 * The cpu from glibc (rseq-backed, so no system call), the node from the
 * topology's table, which never changes once it is loaded: no lock, no atomic.
 * Reading rseq's cpu_id directly would save 2-3 ns of 4, at the price of
 * knowing rseq's layout; this is asked once per magazine, not once per get.
 */
#include "config.h"

#include "numa/here.h"

#include "numa/topo.h"

#include <sched.h>

unsigned
tidep_numa_here(void)
{
	const struct tidep_topo *topo = &tidep_numa_topo;
	int cpu;

	/* One node, or not loaded yet: no need to ask. */
	if (topo->nodes <= 1)
		return 0;
	cpu = sched_getcpu();
	/* -1 where the kernel does not say; past the end for a cpu added later. */
	if (cpu < 0 || (unsigned)cpu >= topo->cpus)
		return 0;
	return topo->cpu_node[cpu];
}
