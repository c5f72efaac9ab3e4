/* SPDX-License-Identifier: MIT */
/*
 * Which node this thread is on now. Old news as soon as it is told; a few
 * nanoseconds (glibc's sched_getcpu reads the cpu from rseq). Any thread.
 */
#ifndef TIDEP_NUMA_HERE_H
#define TIDEP_NUMA_HERE_H

/* 0 .. nodes-1; 0 where the kernel does not say, or for an unknown cpu. */
unsigned tidep_numa_here(void);

#endif
