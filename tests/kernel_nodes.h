/* SPDX-License-Identifier: MIT */
/*
 * kernel_nodes.h - where pages lie and which node a thread is on, by the kernel's
 * word: move_pages() without a target, getcpu(). What the library and hwloc believe
 * is not asked, so the numbers of nodes are the kernel's.
 */
#ifndef TESTS_KERNEL_NODES_H
#define TESTS_KERNEL_NODES_H

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>

#include "rooms.h"

#define NODES_MAX     64
#define SET_LONGS     16 /* of a set of nodes; the kernel wants room for all it could have */
#define SET_BITS      (8 * sizeof(unsigned long[SET_LONGS]))
#define BATCH         64 /* pages asked for at once */
#define POLICY_BIND   2  /* MPOL_BIND */
#define QUERY_ALLOWED 4  /* MPOL_F_MEMS_ALLOWED */
#define MOVE          2  /* MPOL_MF_MOVE */

static size_t page; /* bytes of one */

/* Of the kernel's nodes, those with memory and a cpu that is ours: number and such a cpu. */
static unsigned places;
static unsigned place_node[NODES_MAX];
static unsigned place_cpu[NODES_MAX];

static inline int
pin_to(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* The node of the cpu that this thread is on. */
static inline unsigned
kernel_node(void)
{
	unsigned node = UINT32_MAX;

	REQUIRE(syscall(SYS_getcpu, NULL, &node, NULL) == 0);
	return node;
}

static inline void
find_places(void)
{
	unsigned long with_memory[SET_LONGS] = { 0 };
	cpu_set_t ours;

	page = (size_t)sysconf(_SC_PAGESIZE);
	if (sched_getaffinity(0, sizeof(ours), &ours) != 0 ||
	    syscall(SYS_get_mempolicy, NULL, with_memory, SET_BITS, NULL, QUERY_ALLOWED) != 0)
		return;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		unsigned node, i;

		if (!CPU_ISSET(cpu, &ours) || pin_to(cpu) != 0)
			continue;
		node = kernel_node();
		for (i = 0; i < places && place_node[i] != node; i++)
			;
		if (i < places || places == NODES_MAX || node >= SET_BITS ||
		    !(with_memory[node / 64] >> node % 64 & 1))
			continue;
		place_node[places] = node;
		place_cpu[places++] = cpu;
	}
	sched_setaffinity(0, sizeof(ours), &ours);
}

/* The node of the page an address is on; negative: it is not in memory. */
static inline int
node_of(const void *addr)
{
	void *start = (void *)((uintptr_t)addr & ~(page - 1));
	int status = -EINVAL;

	REQUIRE(syscall(SYS_move_pages, 0, 1L, &start, NULL, &status, 0) == 0);
	return status;
}

/* Strictly binds a page that nobody has touched. */
static inline int
bind_to(const void *addr, unsigned node)
{
	unsigned long set[SET_LONGS] = { 0 };

	set[node / 64] |= 1ul << node % 64;
	return (int)syscall(SYS_mbind, addr, page, POLICY_BIND, set, SET_BITS, 0);
}

static inline bool
move_to(const void *addr, int node)
{
	void *start = (void *)((uintptr_t)addr & ~(page - 1));
	int status = -EINVAL;

	return syscall(SYS_move_pages, 0, 1L, &start, &node, &status, MOVE) == 0 && status == node;
}

/* How many of the pages that hold these bytes are not on the node. */
static inline unsigned
count_off(const void *addr, size_t bytes, unsigned node)
{
	char *at = (char *)((uintptr_t)addr & ~(page - 1));
	const char *end = (const char *)addr + bytes;
	unsigned off = 0;

	while (at < end) {
		void *pages[BATCH];
		int status[BATCH];
		unsigned n = 0;

		for (; n < BATCH && at < end; at += page) {
			status[n] = -EINVAL;
			pages[n++] = at;
		}
		REQUIRE(syscall(SYS_move_pages, 0, (long)n, pages, NULL, status, 0) == 0);
		while (n > 0)
			off += status[--n] != (int)node;
	}
	return off;
}

#endif
