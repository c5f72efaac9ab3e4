/* SPDX-License-Identifier: MIT */
/*
 * The machine: its NUMA nodes and which cpu belongs to which, read once from
 * hwloc (so HWLOC_SYNTHETIC and HWLOC_XMLFILE machines are valid input) and
 * never changed afterwards. Nodes are numbered 0 .. nodes-1 here, by hwloc's
 * logical index; "cpu" is always the operating system's number.
 */
#ifndef TIDEP_NUMA_TOPO_H
#define TIDEP_NUMA_TOPO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIDEP_NODES_MAX 256 /* more are folded: node n counts as n % 256 */

struct hwloc_bitmap_s;
struct hwloc_topology;

struct tidep_topo {
	unsigned nodes;     /* 1 .. TIDEP_NODES_MAX */
	unsigned cpus;      /* entries of cpu_node: at least 1, beyond the highest cpu */
	uint16_t *cpu_node; /* [cpus]; a cpu no node claims: node 0, or dealt (see topo.c) */
	uint16_t *nearest;  /* [nodes][nodes]: row n lists all nodes, n first, by distance */
	bool pretended;     /* TIDENUMA=off or fake=N: never bind memory */
	struct hwloc_topology *hwloc; /* NULL when pretended; else for binding */
};

extern struct tidep_topo tidep_numa_topo; /* all zero until loaded */

/*
 * Reads the machine. fake_nodes: 0 = as it is, N = pretend N nodes and deal the
 * cpus round robin (1 is "off"). Called once, before any other thread is inside
 * tidepool; may be tried again after it failed. 0, -ENOMEM, or -EINVAL: hwloc
 * cannot read the machine that HWLOC_SYNTHETIC or HWLOC_XMLFILE names; one line
 * on stderr says so. Cost: see topo.c.
 */
int tidep_numa_topo_load(unsigned fake_nodes);

/* Undoes it; for tests. */
void tidep_numa_topo_unload(void);

#endif
