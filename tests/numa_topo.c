/* SPDX-License-Identifier: MIT */
/*
 * numa/topo: nodes, cpus and distances of the real machine, of machines that
 * hwloc is told about, and of pretended ones.
 *
 * four-nodes.xml is hwloc's export of "node:4 pu:2" with these latencies:
 *
 *     10 30 20 40
 *     30 10 20 20
 *     40 20 10 30
 *     20 40 30 10
 */
#include "config.h"

#include "numa/topo.h"

#include <errno.h>
#include <sched.h>

#include "numa/fault.h"
#include "rooms.h"

static const struct tidep_topo *const topo = &tidep_numa_topo;

/* The linker puts these in the place of numa's (--wrap), to count what is out. */
static int records;

void *__real_tidep_numa_record_alloc(size_t bytes);
void __real_tidep_numa_record_free(void *record);
void *__wrap_tidep_numa_record_alloc(size_t bytes);
void __wrap_tidep_numa_record_free(void *record);

void *
__wrap_tidep_numa_record_alloc(size_t bytes)
{
	void *record = __real_tidep_numa_record_alloc(bytes);

	records += record != NULL;
	return record;
}

void
__wrap_tidep_numa_record_free(void *record)
{
	records -= record != NULL;
	__real_tidep_numa_record_free(record);
}

/* What holds for every machine. */
static void
check_tables(void)
{
	ck_assert_uint_ge(topo->nodes, 1);
	ck_assert_uint_le(topo->nodes, TIDEP_NODES_MAX);
	ck_assert_uint_ge(topo->cpus, 1);
	for (unsigned cpu = 0; cpu < topo->cpus; cpu++)
		REQUIRE(topo->cpu_node[cpu] < topo->nodes);
	for (unsigned n = 0; n < topo->nodes; n++) {
		const uint16_t *row = topo->nearest + (size_t)n * topo->nodes;
		bool seen[TIDEP_NODES_MAX] = { false };

		ck_assert_uint_eq(row[0], n);
		for (unsigned i = 0; i < topo->nodes; i++) {
			REQUIRE(row[i] < topo->nodes);
			REQUIRE_MSG(!seen[row[i]], "row %u names %u twice", n, row[i]);
			seen[row[i]] = true;
		}
	}
}

static void
check_unloaded(void)
{
	static const struct tidep_topo nothing;

	ck_assert_int_eq(records, 0);
	ck_assert_int_eq(memcmp(topo, &nothing, sizeof(nothing)), 0);
}

static void
load_told(const char *synthetic, const char *xmlfile)
{
	if (synthetic != NULL)
		setenv("HWLOC_SYNTHETIC", synthetic, 1);
	if (xmlfile != NULL)
		setenv("HWLOC_XMLFILE", xmlfile, 1);
	ck_assert_int_eq(tidep_numa_topo_load(0), 0);
	ck_assert(!topo->pretended);
	ck_assert_ptr_nonnull(topo->hwloc);
	check_tables();
}

static void
get_xmlfile(char *path, size_t path_bytes)
{
	const char *srcdir = getenv("srcdir");

	snprintf(path, path_bytes, "%s/tests/four-nodes.xml", srcdir != NULL ? srcdir : ".");
}

START_TEST(the_real_machine)
{
	cpu_set_t ours;

	load_told(NULL, NULL);
	if (sched_getaffinity(0, sizeof(ours), &ours) == 0)
		for (unsigned cpu = topo->cpus; cpu < CPU_SETSIZE; cpu++)
			ck_assert_msg(!CPU_ISSET(cpu, &ours), "cpu %u is ours", cpu);
	tidep_numa_topo_unload();
	check_unloaded();
}
END_TEST

START_TEST(machines_of_several_shapes)
{
	static const struct {
		const char *synthetic;
		unsigned nodes;
		unsigned cpus;
		uint16_t cpu_node[16];
	} shapes[] = {
		{ "pu:4", 1, 4, { 0, 0, 0, 0 } },
		{ "node:1 pu:1", 1, 1, { 0 } },
		{ "node:3 pu:1", 3, 3, { 0, 1, 2 } },
		{ "node:2 core:2 pu:1", 2, 4, { 0, 0, 1, 1 } },
		{ "pack:2 node:2 core:2 pu:1", 4, 8, { 0, 0, 1, 1, 2, 2, 3, 3 } },
		/* Cpus that are not numbered node by node. */
		{ "node:4 pu:2(indexes=0,4,1,5,2,6,3,7)", 4, 8, { 0, 1, 2, 3, 0, 1, 2, 3 } },
		/* Two nodes for each cpu: the one that has memory, */
		{ "pack:2 [numa(memory=0)] [numa(memory=1GB)] pu:2", 4, 4, { 1, 1, 3, 3 } },
		{ "pack:2 [numa(memory=1GB)] [numa(memory=0)] pu:2", 4, 4, { 0, 0, 2, 2 } },
		/* the one of fewer cpus, */
		{ "[numa(memory=1GB)] pack:2 [numa(memory=1GB)] pu:2", 3, 4, { 0, 0, 1, 1 } },
		/* or the lower one. */
		{ "pack:2 [numa(memory=1GB)] [numa(memory=1GB)] pu:2", 4, 4, { 0, 0, 2, 2 } },
	};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		load_told(shapes[i].synthetic, NULL);
		ck_assert_msg(topo->nodes == shapes[i].nodes, "%s: %u nodes", shapes[i].synthetic,
			      topo->nodes);
		ck_assert_uint_ge(topo->cpus, shapes[i].cpus);
		for (unsigned cpu = 0; cpu < shapes[i].cpus; cpu++)
			ck_assert_msg(topo->cpu_node[cpu] == shapes[i].cpu_node[cpu],
				      "%s: cpu %u is on node %u", shapes[i].synthetic, cpu,
				      topo->cpu_node[cpu]);
		/* What it leaves over is dealt. */
		for (unsigned cpu = shapes[i].cpus; cpu < topo->cpus; cpu++)
			REQUIRE(topo->cpu_node[cpu] == cpu % topo->nodes);
		tidep_numa_topo_unload();
	}
}
END_TEST

START_TEST(too_many_nodes_are_folded)
{
	load_told("node:300 pu:1", NULL);
	ck_assert_uint_eq(topo->nodes, TIDEP_NODES_MAX);
	for (unsigned cpu = 0; cpu < 300; cpu++)
		ck_assert_uint_eq(topo->cpu_node[cpu], cpu % TIDEP_NODES_MAX);
	tidep_numa_topo_unload();
}
END_TEST

START_TEST(a_machine_out_of_a_file)
{
	static const uint16_t nearest[4][4] = {
		{ 0, 2, 1, 3 }, { 1, 2, 3, 0 }, { 2, 1, 3, 0 }, { 3, 0, 2, 1 }
	};
	char path[4096];

	get_xmlfile(path, sizeof(path));
	load_told(NULL, path);
	ck_assert_uint_eq(topo->nodes, 4);
	for (unsigned cpu = 0; cpu < 8; cpu++)
		ck_assert_uint_eq(topo->cpu_node[cpu], cpu / 2);
	for (unsigned n = 0; n < 4; n++)
		for (unsigned i = 0; i < 4; i++)
			ck_assert_msg(topo->nearest[n * 4 + i] == nearest[n][i],
				      "node %u asks %u at %u", n, topo->nearest[n * 4 + i], i);
	tidep_numa_topo_unload();
}
END_TEST

/* As in hwloc: synthetic before file, and empty is unset. */
START_TEST(which_of_two_machines)
{
	char path[4096];

	get_xmlfile(path, sizeof(path));
	load_told("node:3 pu:1", path);
	ck_assert_uint_eq(topo->nodes, 3);
	tidep_numa_topo_unload();
	load_told("", path);
	ck_assert_uint_eq(topo->nodes, 4);
	tidep_numa_topo_unload();
}
END_TEST

START_TEST(without_distances_each_node_asks_another_first)
{
	load_told("node:5 pu:1", NULL);
	for (unsigned n = 0; n < 5; n++)
		ck_assert_uint_eq(topo->nearest[n * 5 + 1], (n + 1) % 5);
	tidep_numa_topo_unload();
}
END_TEST

START_TEST(pretended_nodes)
{
	static const unsigned fakes[] = { 1, 2, 3, 4, 64, 256, 257, 1000000 };
	unsigned heads = (unsigned)sysconf(_SC_NPROCESSORS_CONF);

	/* Whatever hwloc would have to say. */
	setenv("HWLOC_SYNTHETIC", "nonsense", 1);
	for (size_t i = 0; i < sizeof(fakes) / sizeof(fakes[0]); i++) {
		ck_assert_int_eq(tidep_numa_topo_load(fakes[i]), 0);
		ck_assert(topo->pretended);
		ck_assert_ptr_null(topo->hwloc);
		ck_assert_uint_eq(topo->nodes,
				  fakes[i] < TIDEP_NODES_MAX ? fakes[i] : TIDEP_NODES_MAX);
		ck_assert_uint_ge(topo->cpus, heads);
		check_tables();
		for (unsigned cpu = 0; cpu < topo->cpus; cpu++)
			REQUIRE(topo->cpu_node[cpu] == cpu % topo->nodes);
		tidep_numa_topo_unload();
		check_unloaded();
	}
}
END_TEST

/* Loads what is no good: -EINVAL, and one printable line that names the variable. */
static void
check_malformed(const char *variable, const char *value)
{
	char text[1024];
	FILE *file;
	int saved;
	int err;

	setenv(variable, value, 1);
	saved = capture_begin(&file);
	err = tidep_numa_topo_load(0);
	capture_end(file, saved, text, sizeof(text));
	ck_assert_msg(err == -EINVAL, "%s=%s: %d", variable, value, err);
	check_unloaded();
	ck_assert_msg(strncmp(text, "tidepool: ", 10) == 0, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, variable));
	ck_assert_msg(strchr(text, '\n') == text + strlen(text) - 1, "not one line: %s", text);
	for (const char *at = text; at[1] != '\0'; at++)
		ck_assert_msg(*at >= ' ' && *at <= '~', "byte %#x", (unsigned char)*at);

	/* It is no final verdict. */
	unsetenv(variable);
	ck_assert_int_eq(tidep_numa_topo_load(0), 0);
	check_tables();
	tidep_numa_topo_unload();
}

START_TEST(malformed_is_one_line)
{
	char *endless = malloc(5000);

	check_malformed("HWLOC_SYNTHETIC", "nonsense");
	check_malformed("HWLOC_SYNTHETIC", "node:2 pu:0");
	check_malformed("HWLOC_SYNTHETIC", "node:2\npu:x\x1b[31m\xff");
	check_malformed("HWLOC_XMLFILE", "/nonexistent.xml");
	check_malformed("HWLOC_XMLFILE", "/dev/null");
	ck_assert_ptr_nonnull(endless);
	memset(endless, 'x', 4999);
	endless[4999] = '\0';
	check_malformed("HWLOC_SYNTHETIC", endless);
	free(endless);
}
END_TEST

/* Every refusal in turn, for each way to load; then it works. */
static void
refuse_each(unsigned fake_nodes)
{
	int err = -ENOMEM;
	int64_t n;

	for (n = 1; err != 0; n++) {
		ck_assert_int_lt(n, 1000);
		atomic_store(&tidep_numa_fault_in, n);
		err = tidep_numa_topo_load(fake_nodes);
		ck_assert(err == 0 || err == -ENOMEM);
		if (err != 0) {
			ck_assert_int_lt(atomic_load(&tidep_numa_fault_in), 0);
			check_unloaded();
		}
	}
	ck_assert_int_gt(n, 3);
	atomic_store(&tidep_numa_fault_in, 0);
	check_tables();
	tidep_numa_topo_unload();
}

START_TEST(no_memory)
{
	char path[4096];

	refuse_each(4);
	refuse_each(0);
	setenv("HWLOC_SYNTHETIC", "node:2 pu:2", 1);
	refuse_each(0);
	unsetenv("HWLOC_SYNTHETIC");
	get_xmlfile(path, sizeof(path));
	setenv("HWLOC_XMLFILE", path, 1);
	refuse_each(0);
}
END_TEST

int
main(void)
{
	unsetenv("HWLOC_SYNTHETIC");
	unsetenv("HWLOC_XMLFILE");
	return run_suite("numa_topo", (const TTest *const[]){
					      the_real_machine,
					      machines_of_several_shapes,
					      too_many_nodes_are_folded,
					      a_machine_out_of_a_file,
					      which_of_two_machines,
					      without_distances_each_node_asks_another_first,
					      pretended_nodes,
					      malformed_is_one_line,
					      no_memory,
					      NULL,
				      });
}
