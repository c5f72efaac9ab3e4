/* SPDX-License-Identifier: MIT */
/*
 * numa/here: the node of the cpu this thread runs on, 0 where nobody knows.
 */
#include "config.h"

#include "numa/here.h"

#include <sched.h>

#include "numa/topo.h"
#include "rooms.h"

static cpu_set_t ours;

/* Moves this thread to a cpu; false: it is not ours. */
static bool
move_to(unsigned cpu)
{
	cpu_set_t one;

	if (cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &ours))
		return false;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	return sched_setaffinity(0, sizeof(one), &one) == 0;
}

START_TEST(nothing_loaded_is_node_0)
{
	ck_assert_uint_eq(tidep_numa_here(), 0);
}
END_TEST

START_TEST(one_node_is_node_0)
{
	ck_assert_int_eq(tidep_numa_topo_load(1), 0);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (move_to(cpu))
			ck_assert_uint_eq(tidep_numa_here(), 0);
	tidep_numa_topo_unload();
}
END_TEST

START_TEST(each_cpu_is_on_its_node)
{
	for (unsigned nodes = 2; nodes <= 5; nodes++) {
		ck_assert_int_eq(tidep_numa_topo_load(nodes), 0);
		for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
			if (move_to(cpu))
				ck_assert_uint_eq(tidep_numa_here(), cpu % nodes);
		tidep_numa_topo_unload();
	}
}
END_TEST

/* A table that ends early, as on a machine whose cpus were added later. */
START_TEST(a_cpu_beyond_the_table_is_node_0)
{
	unsigned checked = 0;

	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		/* The entry after the last one would say node 1. */
		uint16_t cpu_node[CPU_SETSIZE + 1];

		if (!move_to(cpu))
			continue;
		for (unsigned i = 0; i <= CPU_SETSIZE; i++)
			cpu_node[i] = 1;
		tidep_numa_topo =
			(struct tidep_topo){ .nodes = 2, .cpus = cpu, .cpu_node = cpu_node };
		ck_assert_uint_eq(tidep_numa_here(), 0);
		tidep_numa_topo.cpus = cpu + 1;
		ck_assert_uint_eq(tidep_numa_here(), 1);
		checked++;
	}
	ck_assert_uint_gt(checked, 0);
}
END_TEST

int
main(void)
{
	if (sched_getaffinity(0, sizeof(ours), &ours) != 0) {
		puts("skipped: more cpus than a cpu_set_t has room for");
		return 77;
	}
	return run_suite("numa_here", (const TTest *const[]){
					      nothing_loaded_is_node_0,
					      one_node_is_node_0,
					      each_cpu_is_on_its_node,
					      a_cpu_beyond_the_table_is_node_0,
					      NULL,
				      });
}
