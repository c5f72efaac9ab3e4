/* SPDX-License-Identifier: MIT */
/*
 * Memory from the operating system. osmem.c is the only caller of mmap,
 * mprotect, madvise and of hwloc's binding; all sizes and addresses are
 * multiples of the page size, which is the caller's duty. Every function may
 * be called by any thread.
 */
#ifndef TIDEP_NUMA_OSMEM_H
#define TIDEP_NUMA_OSMEM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TIDEP_NODE_INTERLEAVE UINT16_MAX /* as a node: all of them, page by page */

/* Refusals by the kernel that only cost placement or memory, for the statistics. */
extern _Atomic uint64_t tidep_numa_decommit_failures;
extern _Atomic uint64_t tidep_numa_bind_failures;

size_t tidep_numa_page_bytes(void);

/* How much memory the machine has. */
size_t tidep_numa_memory_bytes(void);

/* How much address space RLIMIT_AS allows this process; SIZE_MAX = no limit. */
size_t tidep_numa_address_limit(void);

/*
 * Reserves addresses that may not be touched, aligned to align_bytes (a power
 * of two); they cost no memory and no commit charge. NULL: refused.
 */
void *tidep_numa_reserve(size_t bytes, size_t align_bytes);
void tidep_numa_unreserve(void *addr, size_t bytes);

/* Makes reserved addresses readable: they read as zero, at no commit charge. 0 or -ENOMEM. */
int tidep_numa_expose(void *addr, size_t bytes);

/* Makes reserved addresses readable and writable; they read as zero. 0 or -ENOMEM. */
int tidep_numa_open(void *addr, size_t bytes);

/*
 * Sets the policy of reserved addresses that nobody has touched: their pages
 * will lie on the node as far as it has room, and stay small pages. Failing
 * costs placement only and is counted. On one node, and where the nodes are
 * pretended, only the small pages are asked for. `node` is one of the
 * topology's or TIDEP_NODE_INTERLEAVE; another one counts as a failure.
 */
void tidep_numa_bind(void *addr, size_t bytes, unsigned node);

/*
 * Gives opened pages back to the system; they read as zero afterwards, in every
 * case: where the kernel refuses (mlockall) they are cleared instead, and
 * that is counted. Returns the bytes given back: all of them, or 0.
 */
size_t tidep_numa_decommit(void *addr, size_t bytes);

/*
 * Has opened pages in memory now, without changing their content; other threads
 * may be using them. 0 or -ENOMEM.
 */
int tidep_numa_populate(void *addr, size_t bytes);

#endif
