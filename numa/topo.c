/* SPDX-License-Identifier: MIT */
/*
 * Reads the machine from hwloc. Runs once, before any other thread is inside;
 * what it leaves behind is read-only.
 *
 * Only nodes and cpus are read. On a machine of 4 cpus, hwloc 2.9: everything
 * takes 3.0 ms (4-7 ms the first time), without caches and cores 2.4 ms, without
 * the x86 backend, memory attributes and cpu kinds too 1.2 ms (1.8 ms the first
 * time). Leaving out the x86 backend is right anyway: it moves the calling
 * thread from cpu to cpu to ask each one.
 */
#include "config.h"

#include "numa/topo.h"

#include "numa/fault.h"
#include "numa/record.h"

#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPUS_MAX  65536      /* a higher number is an absurd XML file's */
#define UNCLAIMED UINT16_MAX /* in cpu_node while it is built */

#if HWLOC_API_VERSION >= 0x00020800
#define LOAD_FLAGS                                                                                 \
	(HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING | HWLOC_TOPOLOGY_FLAG_NO_MEMATTRS |               \
	 HWLOC_TOPOLOGY_FLAG_NO_CPUKINDS)
#else
#define LOAD_FLAGS 0
#endif

struct tidep_topo tidep_numa_topo;

/* The number of cpus this kernel could ever number, rounded up; at least 1. */
static unsigned
count_possible_cpus(void)
{
	unsigned long set[CPUS_MAX / 8 / sizeof(unsigned long)];
	/*
	 * The raw call returns the bytes that the kernel's own sets have, so
	 * holes and cpus that are offline count; sysconf() counts heads.
	 */
	long bytes = syscall(SYS_sched_getaffinity, 0, sizeof(set), set);
	long heads;

	if (bytes > 0)
		return (unsigned)bytes * 8;
	heads = sysconf(_SC_NPROCESSORS_CONF);
	return heads < 1 ? 1 : heads > CPUS_MAX ? CPUS_MAX : (unsigned)heads;
}

/* Records for topo->nodes and topo->cpus; 0 or -ENOMEM. */
static int
alloc_tables(struct tidep_topo *topo)
{
	unsigned nodes = topo->nodes;

	topo->cpu_node = tidep_numa_record_alloc(topo->cpus * sizeof(topo->cpu_node[0]));
	topo->nearest = tidep_numa_record_alloc((size_t)nodes * nodes * sizeof(topo->nearest[0]));
	if (!topo->cpu_node || !topo->nearest)
		return -ENOMEM;
	/* Where nothing else is known, each node asks another one first. */
	for (unsigned n = 0; n < nodes; n++)
		for (unsigned i = 0; i < nodes; i++)
			topo->nearest[n * nodes + i] = (uint16_t)((n + i) % nodes);
	return 0;
}

static void
free_topo(struct tidep_topo *topo)
{
	tidep_numa_record_free(topo->cpu_node);
	tidep_numa_record_free(topo->nearest);
	if (topo->hwloc)
		hwloc_topology_destroy(topo->hwloc);
}

static int
load_pretended(struct tidep_topo *topo, unsigned nodes)
{
	topo->pretended = true;
	topo->nodes = nodes < TIDEP_NODES_MAX ? nodes : TIDEP_NODES_MAX;
	topo->cpus = count_possible_cpus();
	if (alloc_tables(topo))
		return -ENOMEM;
	for (unsigned cpu = 0; cpu < topo->cpus; cpu++)
		topo->cpu_node[cpu] = (uint16_t)(cpu % topo->nodes);
	return 0;
}

/* The value goes to stderr in one line of printable ASCII, whatever it is. */
static int
complain(const char *variable, const char *value, const char *accepted)
{
	char text[256];
	size_t at = 0;

	for (; value[at] && at < sizeof(text) - 1; at++)
		text[at] = value[at] >= ' ' && value[at] <= '~' ? value[at] : '?';
	text[at] = '\0';
	fprintf(stderr, "tidepool: %s=%s: hwloc cannot read it; accepted is %s\n", variable, text,
		accepted);
	return -EINVAL;
}

/*
 * Loads hwloc's topology. hwloc reads HWLOC_SYNTHETIC and HWLOC_XMLFILE itself,
 * but takes the real machine without a word when a value is no good. So they
 * are handed over by hand, in hwloc's order of precedence, and a refusal is
 * seen. The empty string counts as unset, as it does there.
 */
static int
load_hwloc(struct hwloc_topology *hwloc)
{
	const char *synthetic = getenv("HWLOC_SYNTHETIC");
	const char *xmlfile = getenv("HWLOC_XMLFILE");
	int err = 0;

	if (tidep_numa_fault() ||
	    hwloc_topology_set_all_types_filter(hwloc, HWLOC_TYPE_FILTER_KEEP_NONE))
		return -ENOMEM;
	/* A node has the cpus of its parent, which is often a group made for it. */
	if (tidep_numa_fault() || hwloc_topology_set_type_filter(hwloc, HWLOC_OBJ_GROUP,
								 HWLOC_TYPE_FILTER_KEEP_STRUCTURE))
		return -ENOMEM;
	if (tidep_numa_fault() || hwloc_topology_set_flags(hwloc, LOAD_FLAGS))
		return -ENOMEM;

	errno = 0;
	if (synthetic && *synthetic) {
		xmlfile = NULL;
		if (tidep_numa_fault())
			return -ENOMEM;
		err = hwloc_topology_set_synthetic(hwloc, synthetic);
	} else if (xmlfile && *xmlfile) {
		synthetic = NULL;
		if (tidep_numa_fault())
			return -ENOMEM;
		err = hwloc_topology_set_xml(hwloc, xmlfile);
	} else {
		synthetic = xmlfile = NULL;
	}
	if (!err) {
		if (tidep_numa_fault())
			return -ENOMEM;
		err = hwloc_topology_load(hwloc);
	}
	if (!err)
		return 0;
	if (errno == ENOMEM)
		return -ENOMEM;
	if (synthetic)
		return complain("HWLOC_SYNTHETIC", synthetic,
				"a description such as \"node:2 core:2 pu:1\"");
	if (xmlfile)
		return complain("HWLOC_XMLFILE", xmlfile, "a file that lstopo exported");
	return -ENOMEM; /* the machine itself never fails otherwise */
}

/*
 * Of two nodes that claim one cpu, is a the better one? hwloc lends a node
 * without cpus the cpus of the nearest one, so the claims may be equal. Memory
 * comes first: on the node of a cpu that has none nothing can be placed, and
 * the borrower is where its pages go anyway. Then the narrower claim; then the
 * lower number, as Linux numbers the nodes that ACPI lists with cpus first.
 */
static bool
is_better(hwloc_obj_t a, hwloc_obj_t b)
{
	bool a_memory = a->attr->numanode.local_memory > 0;
	bool b_memory = b->attr->numanode.local_memory > 0;
	int a_cpus = hwloc_bitmap_weight(a->cpuset);
	int b_cpus = hwloc_bitmap_weight(b->cpuset);

	if (a_memory != b_memory)
		return a_memory;
	if (a_cpus != b_cpus)
		return a_cpus < b_cpus;
	return a->os_index < b->os_index;
}

static hwloc_obj_t
get_node(struct hwloc_topology *hwloc, unsigned n)
{
	return hwloc_get_obj_by_type(hwloc, HWLOC_OBJ_NUMANODE, n);
}

static void
map_cpus(struct tidep_topo *topo, unsigned nodes_found)
{
	bool real = hwloc_topology_is_thissystem(topo->hwloc);
	unsigned cpu;

	for (cpu = 0; cpu < topo->cpus; cpu++)
		topo->cpu_node[cpu] = UNCLAIMED;
	for (unsigned n = 0; n < nodes_found && n < UNCLAIMED; n++) {
		hwloc_obj_t node = get_node(topo->hwloc, n);

		for (cpu = 0; cpu < topo->cpus; cpu++)
			if (hwloc_bitmap_isset(node->cpuset, cpu) &&
			    (topo->cpu_node[cpu] == UNCLAIMED ||
			     is_better(node, get_node(topo->hwloc, topo->cpu_node[cpu]))))
				topo->cpu_node[cpu] = (uint16_t)n;
	}
	/*
	 * Left over are holes and cpus that are offline or not ours to use. On a
	 * machine that hwloc was told about they may be cpus we run on, so they
	 * are dealt, lest a small synthetic machine put them all on one node.
	 */
	for (cpu = 0; cpu < topo->cpus; cpu++) {
		if (topo->cpu_node[cpu] == UNCLAIMED)
			topo->cpu_node[cpu] = (uint16_t)(real ? 0 : cpu % topo->nodes);
		else
			topo->cpu_node[cpu] = (uint16_t)(topo->cpu_node[cpu] % TIDEP_NODES_MAX);
	}
}

/*
 * Sorts one row by distance. `distance` is by node. Stable, so that equally
 * near nodes stay in the order of alloc_tables(), which spreads the load.
 */
static void
sort_row(uint16_t *row, unsigned nodes, const uint64_t *distance)
{
	for (unsigned i = 2; i < nodes; i++) {
		uint16_t node = row[i];
		unsigned at = i;

		for (; at > 1 && distance[row[at - 1]] > distance[node]; at--)
			row[at] = row[at - 1];
		row[at] = node;
	}
}

/* Reorders topo->nearest where the machine tells latencies; 0 or -ENOMEM. */
static int
sort_nearest(struct tidep_topo *topo)
{
	struct hwloc_distances_s *told;
	unsigned found = 1;

	if (tidep_numa_fault() ||
	    hwloc_distances_get_by_type(topo->hwloc, HWLOC_OBJ_NUMANODE, &found, &told,
					HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0))
		return -ENOMEM;
	if (found == 0)
		return 0;
	for (unsigned i = 0; i < told->nbobjs; i++) {
		unsigned from = told->objs[i]->logical_index;
		uint64_t distance[TIDEP_NODES_MAX];

		if (from >= topo->nodes)
			continue;
		/* A node that the matrix leaves out is the farthest. */
		for (unsigned n = 0; n < topo->nodes; n++)
			distance[n] = UINT64_MAX;
		for (unsigned j = 0; j < told->nbobjs; j++) {
			unsigned to = told->objs[j]->logical_index;

			if (to < topo->nodes)
				distance[to] = told->values[i * told->nbobjs + j];
		}
		sort_row(topo->nearest + (size_t)from * topo->nodes, topo->nodes, distance);
	}
	hwloc_distances_release(topo->hwloc, told);
	return 0;
}

/* Beyond the highest cpu that a node claims, and on a told machine ours too. */
static unsigned
count_cpus(struct hwloc_topology *hwloc, unsigned nodes_found)
{
	unsigned cpus = hwloc_topology_is_thissystem(hwloc) ? 1 : count_possible_cpus();

	for (unsigned n = 0; n < nodes_found; n++) {
		int last = hwloc_bitmap_last(get_node(hwloc, n)->cpuset);

		if (last >= 0 && (unsigned)last >= cpus)
			cpus = (unsigned)last + 1;
	}
	return cpus < CPUS_MAX ? cpus : CPUS_MAX;
}

static int
load_machine(struct tidep_topo *topo)
{
	unsigned nodes_found;
	int err;

	if (tidep_numa_fault() || hwloc_topology_init(&topo->hwloc)) {
		topo->hwloc = NULL;
		return -ENOMEM;
	}
	err = load_hwloc(topo->hwloc);
	if (err)
		return err;
	/* hwloc promises at least one node. */
	nodes_found = (unsigned)hwloc_get_nbobjs_by_type(topo->hwloc, HWLOC_OBJ_NUMANODE);
	topo->nodes = nodes_found < TIDEP_NODES_MAX ? nodes_found : TIDEP_NODES_MAX;
	topo->cpus = count_cpus(topo->hwloc, nodes_found);
	if (alloc_tables(topo))
		return -ENOMEM;
	map_cpus(topo, nodes_found);
	return sort_nearest(topo);
}

int
tidep_numa_topo_load(unsigned fake_nodes)
{
	struct tidep_topo topo = { 0 };
	int err = fake_nodes ? load_pretended(&topo, fake_nodes) : load_machine(&topo);

	if (err)
		free_topo(&topo);
	else
		tidep_numa_topo = topo;
	return err;
}

void
tidep_numa_topo_unload(void)
{
	struct tidep_topo topo = tidep_numa_topo;

	tidep_numa_topo = (struct tidep_topo){ 0 };
	free_topo(&topo);
}
