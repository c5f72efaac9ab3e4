/* SPDX-License-Identifier: MIT */
/*
 * The only caller of mmap, mprotect, madvise and hwloc's binding. Stateless
 * but for two counters; what the topology says is read-only by now. Whatever
 * can be refused asks the fault seam first.
 */
#include "config.h"

#include "numa/osmem.h"

#include "numa/fault.h"
#include "numa/topo.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; headers may be older than the kernel */
#endif

#define AGAIN_MAX 64 /* how often EAGAIN is believed */

_Atomic uint64_t tidep_numa_decommit_failures;
_Atomic uint64_t tidep_numa_bind_failures;

size_t
tidep_numa_page_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

size_t
tidep_numa_memory_bytes(void)
{
	return (size_t)sysconf(_SC_PHYS_PAGES) * tidep_numa_page_bytes();
}

size_t
tidep_numa_address_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	    limit.rlim_cur > SIZE_MAX)
		return SIZE_MAX;
	return (size_t)limit.rlim_cur;
}

/*
 * Reserves more than asked for and trims both ends. A trim that fails (out of
 * mappings) is let be: it leaves addresses that hold no memory.
 */
void *
tidep_numa_reserve(size_t bytes, size_t align_bytes)
{
	size_t page = tidep_numa_page_bytes();
	size_t extra = align_bytes > page ? align_bytes - page : 0;
	size_t head;
	char *raw;

	if (bytes > SIZE_MAX - extra || tidep_numa_fault())
		return NULL;
	raw = mmap(NULL, bytes + extra, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		   0);
	if (raw == MAP_FAILED)
		return NULL;
	if (extra == 0)
		return raw;
	head = (align_bytes - ((uintptr_t)raw & (align_bytes - 1))) & (align_bytes - 1);
	if (head > 0)
		(void)munmap(raw, head);
	if (extra > head)
		(void)munmap(raw + head + bytes, extra - head);
	return raw + head;
}

void
tidep_numa_unreserve(void *addr, size_t bytes)
{
	(void)munmap(addr, bytes);
}

static int
protect(void *addr, size_t bytes, int protection)
{
	if (tidep_numa_fault() || mprotect(addr, bytes, protection))
		return -ENOMEM;
	return 0;
}

int
tidep_numa_expose(void *addr, size_t bytes)
{
	return protect(addr, bytes, PROT_READ);
}

int
tidep_numa_open(void *addr, size_t bytes)
{
	return protect(addr, bytes, PROT_READ | PROT_WRITE);
}

/* madvise(), again where the kernel only asks for patience; 0 or -errno. */
static int
advise(void *addr, size_t bytes, int advice)
{
	unsigned again = 0;

	while (madvise(addr, bytes, advice)) {
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN || ++again > AGAIN_MAX)
			return -errno;
		sched_yield();
	}
	return 0;
}

static int
bind_to(void *addr, size_t bytes, unsigned node)
{
	struct hwloc_topology *hwloc = tidep_numa_topo.hwloc;
	hwloc_membind_policy_t policy = HWLOC_MEMBIND_BIND;
	hwloc_const_nodeset_t set;

	if (node == TIDEP_NODE_INTERLEAVE) {
		policy = HWLOC_MEMBIND_INTERLEAVE;
		set = hwloc_topology_get_topology_nodeset(hwloc);
	} else {
		hwloc_obj_t obj = hwloc_get_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, node);

		if (!obj)
			return -EINVAL;
		set = obj->nodeset;
	}
	/*
	 * Without HWLOC_MEMBIND_STRICT: the kernel prefers the node. A strict
	 * policy ends in an OOM kill when the node is full, not in ENOMEM.
	 */
	if (hwloc_set_area_membind(hwloc, addr, bytes, set, policy, HWLOC_MEMBIND_BYNODESET))
		return -errno;
	return 0;
}

void
tidep_numa_bind(void *addr, size_t bytes, unsigned node)
{
	const struct tidep_topo *topo = &tidep_numa_topo;
	bool failed = false;
	int err;

	if (topo->nodes > 1 && !topo->pretended)
		failed = tidep_numa_fault() || bind_to(addr, bytes, node);
	/*
	 * A huge page would undo the interleaving, and khugepaged would refill
	 * the holes that decommit leaves. EINVAL: a kernel without huge pages.
	 */
	err = tidep_numa_fault() ? -ENOMEM : advise(addr, bytes, MADV_NOHUGEPAGE);
	if (failed || (err && err != -EINVAL))
		atomic_fetch_add_explicit(&tidep_numa_bind_failures, 1, memory_order_relaxed);
}

size_t
tidep_numa_decommit(void *addr, size_t bytes)
{
	if (!tidep_numa_fault() && advise(addr, bytes, MADV_DONTNEED) == 0)
		return bytes;
	/* EINVAL: locked pages. They are in memory, so clearing faults in nothing. */
	memset(addr, 0, bytes);
	atomic_fetch_add_explicit(&tidep_numa_decommit_failures, 1, memory_order_relaxed);
	return 0;
}

/*
 * For kernels before 5.14. A write fault that changes nothing, whoever else is
 * writing there; a plain read would only map the shared zero page. The zero is
 * volatile because clang makes a load of "or 0". Out of memory is a signal
 * here, which is why the kernel is asked first. Unseen by AddressSanitizer, for it
 * goes over objects at rest.
 */
__attribute__((no_sanitize_address)) static void
touch(char *addr, size_t bytes)
{
	size_t page = tidep_numa_page_bytes();
	volatile unsigned char nothing = 0;

	for (size_t at = 0; at < bytes; at += page)
		atomic_fetch_or_explicit((_Atomic unsigned char *)(addr + at), nothing,
					 memory_order_relaxed);
}

int
tidep_numa_populate(void *addr, size_t bytes)
{
	int err = tidep_numa_fault() ? -ENOMEM : advise(addr, bytes, MADV_POPULATE_WRITE);

	if (err == -EINVAL) {
		touch(addr, bytes);
		return 0;
	}
	return err ? -ENOMEM : 0;
}
