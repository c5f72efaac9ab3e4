/* SPDX-License-Identifier: MIT */
/*
 * limits_cpus.c - cpus that are not ours to run on, numbers with holes, machines with
 * more nodes than cpus, and descriptions of machines that are no good.
 *
 * eight-nodes.xml is hwloc's export of "node:8 pu:2" whose cpus have the numbers
 *
 *     0 12 | 1 9 | 3 20 | 4 30 | 6 25 | 8 28 | 14 22 | 17 27
 *
 * so 2, 5, 7 and half of what follows are holes, and cpus 0 and 1, which most machines
 * have, are on two nodes.
 */
#include "common.h"

#include <sched.h>

static void *
use_pool(void *arg)
{
	void *objs[200];

	for (unsigned round = 0; round < 10; round++) {
		ck_assert_int_eq(tide_get_bulk(arg, objs, LENGTH(objs)), 0);
		for (size_t i = 0; i < LENGTH(objs); i++) {
			if (!is_all(objs[i], 64, 0))
				ck_abort_msg("an object is not zero");
			memset(objs[i], 0x5a, 64);
		}
		tide_put_bulk(arg, objs, LENGTH(objs));
	}
	return NULL;
}

/* A pool under a few threads; all of it adds up. */
static void
use_machine(void)
{
	tide_pool *pool = NEW_POOL("cpus", 64);
	pthread_t threads[6];

	for (size_t i = 0; i < LENGTH(threads); i++)
		threads[i] = start(use_pool, pool);
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	check_pool(pool);
	end_pool(pool);
}

/* Leaves this thread and those to come the cpus of a mask; false: it has none of them. */
static bool
keep_cpus(unsigned long mask)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (size_t cpu = 0; cpu < 64; cpu++)
		if (mask >> cpu & 1)
			CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

static void
told(const char *xml)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];

	snprintf(path, sizeof(path), "%s/tests/%s", srcdir != NULL ? srcdir : ".", xml);
	setenv("HWLOC_XMLFILE", path, 1);
	setenv("TIDENUMA", "auto", 1);
}

static uint64_t
count_nodes(void)
{
	struct tide_stats stats;

	tide_stats_read(&stats, sizeof(stats));
	return stats.nodes;
}

START_TEST(cpus_2_and_3_only)
{
	/* Of a machine that has no others: those it has, but the first. */
	if (!keep_cpus(0xc) && !keep_cpus(0x2))
		printf("cpus_2_and_3_only: there is one cpu\n");
	use_machine();
}
END_TEST

START_TEST(one_cpu_only)
{
	ck_assert(keep_cpus(0x2) || keep_cpus(0x1));
	use_machine();
}
END_TEST

START_TEST(one_cpu_of_many_pretended_nodes)
{
	setenv("TIDENUMA", "fake=16", 1);
	ck_assert(keep_cpus(0x2) || keep_cpus(0x1));
	use_machine();
	ck_assert_uint_eq(count_nodes(), 16);
}
END_TEST

START_TEST(a_thread_may_be_moved_while_it_works)
{
	tide_pool *pool;

	setenv("TIDENUMA", "fake=2", 1);
	pool = NEW_POOL("moved", 64);
	for (unsigned i = 0; i < ROUNDS(100); i++) {
		keep_cpus(i % 2 ? 0x1 : 0x2);
		use_pool(pool);
	}
	check_pool(pool);
	end_pool(pool);
}
END_TEST

START_TEST(eight_nodes_whose_cpu_numbers_have_holes)
{
	told("eight-nodes.xml");
	use_machine();
	ck_assert_uint_eq(count_nodes(), 8);
}
END_TEST

START_TEST(a_cpu_beside_a_hole_is_at_home_on_its_node)
{
	struct tide_pool_stats stats;
	tide_pool *pool;
	void *obj;

	told("eight-nodes.xml");
	if (!keep_cpus(0x2)) {
		printf("a_cpu_beside_a_hole: there is no cpu 1\n");
		return;
	}
	pool = NEW_POOL("home", 64);
	obj = tide_get_on(pool, 1);
	tide_put(pool, obj);
	ck_assert_ptr_eq(tide_get(pool), obj);
	tide_put(pool, obj);
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.local_gets, 2);
	ck_assert_uint_eq(stats.remote_puts, 0);
	obj = tide_get_on(pool, 0);
	tide_put(pool, obj);
	ck_assert_uint_eq(stats_of(pool).remote_puts, 1);
	end_pool(pool);
}
END_TEST

START_TEST(every_one_of_eight_nodes_can_be_asked_for)
{
	void *objs[8][50];
	tide_pool *pool;

	told("eight-nodes.xml");
	pool = NEW_POOL("eight", 64);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned node = 0; node < 8; node++)
			for (unsigned i = 0; i < 50; i++)
				ck_assert_ptr_nonnull(objs[node][i] = tide_get_on(pool, node));
		for (unsigned node = 0; node < 8; node++)
			tide_put_bulk(pool, objs[node], 50);
		check_pool(pool);
	}
	ck_assert_uint_eq(stats_of(pool).created, 400);
	ck_assert_ptr_null(tide_get_on(pool, 8));
	ck_assert_int_eq(errno, EINVAL);
	end_pool(pool);
}
END_TEST

/* ---- descriptions that are no good ---------------------------------------- */

static void
refuse(const char *variable, const char *value)
{
	struct capture capture;
	const char *text;

	setenv(variable, value, 1);
	capture_start(&capture);
	ck_assert_int_eq(tide_init(), -EINVAL);
	text = capture_end(&capture);
	ck_assert_msg(is_one_line(text), "%s", text);
	ck_assert_ptr_nonnull(strstr(text, variable));
	/* It stays so, and everything that needs it says so; nothing crashes. */
	unsetenv(variable);
	errno = 0;
	ck_assert_ptr_null(tide_pool_create(CONFIG("none", 64)));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(tide_init(), -EINVAL);
	ck_assert_ptr_null(tide_pool_find("none"));
	tide_thread_flush();
	ck_assert_int_eq(tide_check(), 0);
	ck_assert_uint_eq(count_nodes(), 0);
	ck_assert_int_gt(tide_stats_format(NULL, 0, TIDE_JSON), 0);
}

START_TEST(a_malformed_hwloc_synthetic_is_einval)
{
	refuse("HWLOC_SYNTHETIC", "node:2 pu:");
}
END_TEST

START_TEST(an_hwloc_synthetic_without_cpus_is_einval)
{
	refuse("HWLOC_SYNTHETIC", "node:0");
}
END_TEST

START_TEST(a_missing_hwloc_xmlfile_is_einval)
{
	refuse("HWLOC_XMLFILE", "/nonexistent/machine.xml");
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		cpus_2_and_3_only,
		one_cpu_only,
		one_cpu_of_many_pretended_nodes,
		a_thread_may_be_moved_while_it_works,
		eight_nodes_whose_cpu_numbers_have_holes,
		a_cpu_beside_a_hole_is_at_home_on_its_node,
		every_one_of_eight_nodes_can_be_asked_for,
		a_malformed_hwloc_synthetic_is_einval,
		an_hwloc_synthetic_without_cpus_is_einval,
		a_missing_hwloc_xmlfile_is_einval,
	};

	unsetenv("TIDENUMA");
	unsetenv("HWLOC_SYNTHETIC");
	unsetenv("HWLOC_XMLFILE");
	return run_tests("limits_cpus", tests, LENGTH(tests));
}
