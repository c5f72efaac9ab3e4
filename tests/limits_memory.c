/* SPDX-License-Identifier: MIT */
/*
 * limits_memory.c - limits on addresses, on writable memory and on mappings. Each
 * test is a process of its own, whose limits are nobody else's.
 */
#include "common.h"

#include <ctype.h>
#include <sys/resource.h>

#define OBJS_MAX 4096

static void *objs[OBJS_MAX];

/* (A macro: glibc has the resources as an enum, others as numbers.) */
#define LIMIT(resource, bytes)                                                                     \
	ck_assert_msg(setrlimit(resource, &(struct rlimit){ bytes, bytes }) == 0, "%s: %s",        \
		      #resource, strerror(errno))

/* A figure of /proc/self/status in bytes. */
static size_t
status_bytes(const char *name)
{
	size_t length = strlen(name);
	char line[256];
	size_t bytes = 0;
	FILE *file = fopen("/proc/self/status", "re");

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, name, length) == 0 && line[length] == ':')
			bytes = strtoul(line + length + 1, NULL, 10) * KIB;
	fclose(file);
	return bytes;
}

static size_t
count_mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	size_t lines = 0;
	int c;

	ck_assert_ptr_nonnull(file);
	while ((c = fgetc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

/* Gets until there is no more; how many. Nothing is said but ENOMEM. */
static size_t
get_all(tide_pool *pool)
{
	size_t n = 0;

	errno = 0;
	while (n < OBJS_MAX && (objs[n] = tide_get(pool)) != NULL)
		*(uint64_t *)objs[n++] = 1;
	if (n < OBJS_MAX && errno != ENOMEM)
		ck_abort_msg("%s", strerror(errno));
	return n;
}

static int
count_visit(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	++*(size_t *)arg;
	return 0;
}

/* All of what there is, three times, and then some of it as small objects. */
static void
exhaust_and_recover(void)
{
	tide_pool *pool = NEW_POOL("large", MIB);
	tide_pool *small = NEW_POOL("small", 64);
	size_t n = get_all(pool);
	size_t visited = 0;
	size_t again;
	tide_ref ref;
	void *obj;

	ck_assert_uint_gt(n, 0);
	ck_assert_uint_lt(n, OBJS_MAX);
	ck_assert_uint_eq(stats_of(pool).failed_gets, 1);
	ck_assert_int_eq(tide_get_bulk(pool, (void *[2]){ NULL }, 2), -ENOMEM);
	ck_assert_int_eq(tide_pool_reserve(pool, 100), -ENOMEM);
	check_pool(pool);
	ck_assert_uint_eq(tide_pool_each(pool, count_visit, &visited), n);
	/* One back is one to have. */
	ref = tide_ref_of(pool, objs[n - 1]);
	tide_put(pool, objs[n - 1]);
	objs[n - 1] = tide_get(pool);
	ck_assert_ptr_nonnull(objs[n - 1]);
	ck_assert_uint_eq(*(uint64_t *)objs[n - 1], 0);
	ck_assert(!tide_ref_is_live(pool, ref));
	for (size_t i = 0; i < n; i++)
		tide_put(pool, objs[i]);
	/* Their magazine has come to lie where a slab was, of four. */
	again = get_all(pool);
	ck_assert_uint_le(again, n);
	ck_assert_uint_ge(again, n - 4);
	tide_put_bulk(pool, objs, again);
	n = get_all(pool);
	ck_assert_uint_eq(n, again);
	check_pool(pool);
	for (size_t i = 0; i < n; i++)
		tide_discard(pool, objs[i]);
	/* The addresses serve another size now. */
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
	for (unsigned i = 0; i < 100000; i++) {
		obj = tide_get_ref(small, &ref);
		if (obj == NULL || !is_all(obj, 64, 0) || tide_pin(small, ref) != obj)
			ck_abort_msg("small object %u", i);
		tide_unpin(small, obj);
	}
	check_pool(small);
	/* And no other part of the program is starved. */
	obj = malloc(MIB);
	ck_assert_ptr_nonnull(obj);
	free(obj);
}

/* ---- RLIMIT_AS ------------------------------------------------------------ */

static void *
use_pool(void *arg)
{
	void *some[100];

	for (unsigned round = 0; round < 20; round++) {
		ck_assert_int_eq(tide_get_bulk(arg, some, LENGTH(some)), 0);
		tide_put_bulk(arg, some, LENGTH(some));
	}
	return NULL;
}

START_TEST(pools_work_in_1_gib_of_addresses)
{
	static const size_t sizes[] = { 1, 64, 1000, 4096, 65536, MIB, 64 * MIB };
	tide_pool *pools[LENGTH(sizes)];
	pthread_t threads[8];
	char name[32];

	LIMIT(RLIMIT_AS, 1024 * MIB);
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		snprintf(name, sizeof(name), "size-%zu", sizes[i]);
		pools[i] = NEW_POOL(name, sizes[i], .flags = 0);
		for (unsigned j = 0; j < 3; j++) {
			objs[j] = tide_get(pools[i]);
			ck_assert_ptr_nonnull(objs[j]);
			memset(objs[j], 0x5a, sizes[i] < 4096 ? sizes[i] : 4096);
			if (sizes[i] == 64 * MIB)
				break;
		}
		for (unsigned j = 0; j < (sizes[i] == 64 * MIB ? 1 : 3); j++)
			tide_put_used(pools[i], objs[j], sizes[i] < 4096 ? sizes[i] : 4096);
	}
	for (size_t i = 0; i < LENGTH(threads); i++)
		threads[i] = start(use_pool, pools[1 + i % 3]);
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < LENGTH(sizes); i++)
		end_pool(pools[i]);
}
END_TEST

START_TEST(exhausted_addresses_are_enomem)
{
	LIMIT(RLIMIT_AS, 1024 * MIB);
	exhaust_and_recover();
}
END_TEST

START_TEST(a_quarter_of_the_addresses_are_taken_first)
{
	size_t before;

	LIMIT(RLIMIT_AS, 1024 * MIB);
	ck_assert_ptr_nonnull(malloc(1));
	before = status_bytes("VmSize");
	ck_assert_int_eq(tide_init(), 0);
	/* And what hwloc and the allocator of records took. */
	ck_assert_uint_le(status_bytes("VmSize") - before, (256 + 128) * MIB);
}
END_TEST

/* Not enough for the smallest space: an error, and another try when there is more. */
START_TEST(too_few_addresses_are_enomem_until_there_are_more)
{
	struct rlimit rlimit;

	getrlimit(RLIMIT_AS, &rlimit);
	rlimit.rlim_cur = status_bytes("VmSize") + 64 * MIB;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &rlimit), 0);
	ck_assert_int_eq(tide_init(), -ENOMEM);
	errno = 0;
	ck_assert_ptr_null(tide_pool_create(CONFIG("none", 64)));
	ck_assert_int_eq(errno, ENOMEM);
	rlimit.rlim_cur = 1024 * MIB;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &rlimit), 0);
	end_pool(NEW_POOL("some", 64));
}
END_TEST

/* ---- writable memory ------------------------------------------------------ */

/*
 * RLIMIT_DATA counts what can be written, when it becomes so, just as
 * vm.overcommit_memory=2 charges it; but to this process alone.
 */
START_TEST(exhausted_writable_memory_is_enomem)
{
	LIMIT(RLIMIT_DATA, status_bytes("VmData") + 1024 * MIB);
	exhaust_and_recover();
}
END_TEST

/* What is reserved is not writable, so nobody is charged for it. */
START_TEST(only_opened_memory_is_charged)
{
	size_t before = status_bytes("VmData");
	tide_pool *pool = NEW_POOL("charged", MIB);
	size_t n = 0;

	for (; n < 200; n++)
		ck_assert_ptr_nonnull(objs[n] = tide_get(pool));
	/* 36.7 KiB of words for each 64 KiB; a step of 32 MiB; and what hwloc loads. */
	ck_assert_uint_le(status_bytes("VmData") - before, (200 + 32) * MIB * 16 / 10 + 128 * MIB);
	tide_put_bulk(pool, objs, n);
	end_pool(pool);
}
END_TEST

START_TEST(strict_overcommit_is_no_obstacle)
{
	FILE *file = fopen("/proc/sys/vm/overcommit_memory", "re");
	int mode = file != NULL ? fgetc(file) : '?';
	tide_pool *pool;

	if (file != NULL)
		fclose(file);
	if (mode != '2') {
		printf("strict_overcommit_is_no_obstacle: not tried: vm.overcommit_memory is %c, "
		       "and the whole machine's\n",
		       isprint(mode) ? mode : '?');
		return;
	}
	pool = NEW_POOL("strict", MIB);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_ptr_nonnull(objs[i] = tide_get(pool));
	tide_put_bulk(pool, objs, 64);
	end_pool(pool);
}
END_TEST

/* ---- mappings ------------------------------------------------------------- */

#define MAPPINGS_MAX 500 /* more than at the start; the kernel's limit is 65530 */

/* Every other one of 4 GiB of objects goes, pages and all, and then the others. */
START_TEST(holes_cost_no_mappings)
{
	tide_pool *pool = NEW_POOL("holes", MIB);
	size_t before = count_mappings();

	for (unsigned round = 0; round < 2; round++) {
		size_t n = 0;

		/* Less where vm.overcommit_memory is 2, for all of it can be written. */
		while (n < OBJS_MAX && (objs[n] = tide_get(pool)) != NULL)
			n++;
		ck_assert_uint_ge(n, 1000);
		for (size_t i = 0; i < n; i += 2)
			tide_discard(pool, objs[i]);
		ck_assert_uint_le(count_mappings() - before, MAPPINGS_MAX);
		for (size_t i = 1; i < n; i += 2)
			tide_discard(pool, objs[i]);
		ck_assert_uint_le(count_mappings() - before, MAPPINGS_MAX);
		check_pool(pool);
	}
	end_pool(pool);
}
END_TEST

/* A slab a pool, and every other pool goes: slabs go one by one, on every node. */
START_TEST(slabs_that_go_cost_no_mappings)
{
	enum { POOLS = 1000 };
	static tide_pool *pools[POOLS];
	size_t before = 0;

	setenv("TIDENUMA", "fake=4", 1);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = round == 0 ? 0 : 1; i < POOLS; i += round == 0 ? 1 : 2) {
			pools[i] = NEW_POOL("slab", 16u << i % 8,
					    .placement = i % 3 == 2 ? TIDE_INTERLEAVE : TIDE_LOCAL);
			objs[0] = i % 3 == 2 ? tide_get(pools[i]) : tide_get_on(pools[i], i % 4);
			ck_assert_ptr_nonnull(objs[0]);
			tide_put(pools[i], objs[0]);
			if (before == 0)
				before = count_mappings();
		}
		ck_assert_uint_le(count_mappings() - before, MAPPINGS_MAX);
		for (unsigned i = 1; i < POOLS; i += 2)
			ck_assert_int_eq(tide_pool_destroy(pools[i]), 0);
		ck_assert_uint_le(count_mappings() - before, MAPPINGS_MAX);
	}
	ck_assert_int_eq(tide_check(), 0);
	for (unsigned i = 0; i < POOLS; i += 2)
		ck_assert_int_eq(tide_pool_destroy(pools[i]), 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		pools_work_in_1_gib_of_addresses,
		exhausted_addresses_are_enomem,
		a_quarter_of_the_addresses_are_taken_first,
		too_few_addresses_are_enomem_until_there_are_more,
		exhausted_writable_memory_is_enomem,
		only_opened_memory_is_charged,
		strict_overcommit_is_no_obstacle,
		holes_cost_no_mappings,
		slabs_that_go_cost_no_mappings,
	};
	const size_t first = SANITIZED ? 6 : 0;

	/* The sanitizers want terabytes of addresses themselves: without the first ones. */
	return run_tests("limits_memory", tests + first, LENGTH(tests) - first);
}
