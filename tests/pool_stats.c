/* SPDX-License-Identifier: MIT */
/* pool_stats.c - counters are exact at quiet points, and only grow between them. */
#include "common.h"

/* ---- counters ------------------------------------------------------------- */

START_TEST(counters_are_exact_at_quiet_points)
{
	tide_pool *pool = NEW_POOL("exact", 100);
	struct tide_pool_stats stats = stats_of(pool);
	void *objs[300];
	tide_ref ref;

	ck_assert_msg(is_all(&stats.gets, sizeof(stats.gets) * 7, 0), "a new pool did something");
	ck_assert_uint_eq(stats.created + stats.released + stats.live_objects, 0);
	for (unsigned i = 0; i < 300; i++)
		objs[i] = tide_get(pool);
	for (unsigned i = 0; i < 200; i++)
		tide_put(pool, objs[i]);
	for (unsigned i = 200; i < 210; i++)
		tide_discard(pool, objs[i]);
	objs[0] = tide_get_ref(pool, &ref);
	ck_assert_ptr_eq(tide_pin(pool, ref), objs[0]);
	tide_put(pool, objs[0]); /* pinned: counts as live */
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.gets, 301);
	ck_assert_uint_eq(stats.created, 300);
	ck_assert_uint_eq(stats.released, 10);
	ck_assert_uint_eq(stats.discards, 10);
	ck_assert_uint_eq(stats.live_objects, 91);
	ck_assert_uint_eq(stats.idle_objects, 199);
	ck_assert_uint_eq(stats.live_bytes, 9100);
	ck_assert_uint_eq(stats.idle_bytes, 19900);
	ck_assert_uint_eq(stats.failed_gets + stats.broken + stats.remote_puts, 0);
	ck_assert_uint_ge(stats.committed_bytes, 290 * 100);
	ck_assert_uint_eq(stats.caches, 1);
	ck_assert_uint_ge(stats.magazine_objects, 1);
	tide_unpin(pool, objs[0]);
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.puts, 201);
	ck_assert_uint_eq(stats.live_objects, 90);
	for (unsigned i = 210; i < 300; i++)
		tide_put(pool, objs[i]);
	ck_assert_uint_eq(stats_of(pool).puts, 291);
	end_pool(pool);
}
END_TEST

START_TEST(a_get_served_by_the_threads_magazines_is_a_hit)
{
	tide_pool *pool = NEW_POOL("hits", 64);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 1000; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.gets, 1000);
	ck_assert_uint_ge(stats.hits, 990);
	ck_assert_uint_lt(stats.hits, 1000); /* the first one was made */
	ck_assert_uint_eq(stats.local_gets, 1000);
	end_pool(pool);
}
END_TEST

/* Large objects have no thread caches. */
START_TEST(objects_of_64_kib_and_more_have_no_thread_cache)
{
	tide_pool *pool = NEW_POOL("large", 64 * KIB);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 10; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.magazine_objects, 0);
	ck_assert_uint_eq(stats.hits, 0);
	ck_assert_uint_eq(stats.gets, 10);
	ck_assert_uint_eq(stats.created, 1);
	end_pool(pool);
}
END_TEST

START_TEST(a_cache_holds_at_most_256_kib)
{
	static const size_t sizes[] = { 8, 64, 1000, 4096, 32768, 65000 };

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		tide_pool *pool = NEW_POOL("cache", sizes[i]);

		tide_put(pool, tide_get(pool));
		ck_assert_uint_le(2 * stats_of(pool).magazine_objects * sizes[i], 256 * KIB);
		end_pool(pool);
	}
}
END_TEST

START_TEST(the_process_sums_its_pools)
{
	tide_pool *pools[3];
	struct tide_stats all;
	uint64_t committed = 0;
	void *objs[3];

	setenv("TIDENUMA", "fake=3", 1);
	setenv("TIDEGC", "250", 1);
	setenv("TIDEMEMLIMIT", "3GiB", 1);
	for (unsigned i = 0; i < 3; i++) {
		pools[i] = NEW_POOL("sum", 100);
		objs[i] = tide_get(pools[i]);
		tide_put(pools[i], tide_get(pools[i]));
		committed += stats_of(pools[i]).committed_bytes;
	}
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.gets, 6);
	ck_assert_uint_eq(all.puts, 3);
	ck_assert_uint_eq(all.created, 6);
	ck_assert_uint_eq(all.live_objects, 3);
	ck_assert_uint_eq(all.idle_objects, 3);
	ck_assert_uint_eq(all.live_bytes, 300);
	ck_assert_uint_eq(all.idle_bytes, 300);
	ck_assert_uint_eq(all.pools, 3);
	ck_assert_uint_eq(all.threads, 1);
	ck_assert_uint_eq(all.nodes, 3);
	ck_assert_uint_eq(all.misuses, 0);
	ck_assert_int_eq(all.gc_percent, 250);
	ck_assert_int_eq(all.memory_limit, INT64_C(3) << 30);
	ck_assert_uint_ge(all.committed_bytes, committed);
	for (unsigned i = 0; i < 3; i++) {
		tide_put(pools[i], objs[i]);
		end_pool(pools[i]);
	}
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.pools + all.gets + all.created + all.idle_objects, 0);
}
END_TEST

/* Slots of 16 bytes, where words are half as much again. */
START_TEST(committed_bytes_count_slots_and_their_words)
{
	enum { OBJS = 16384 }; /* four slabs, full */
	static void *objs[OBJS];
	tide_pool *pool = NEW_POOL("words", 16);
	struct tide_stats all;

	ck_assert_uint_eq(stats_of(pool).committed_bytes, 0);
	ck_assert_int_eq(tide_get_bulk(pool, objs, OBJS), 0);
	ck_assert_uint_ge(stats_of(pool).committed_bytes, OBJS * (16 + 8));
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_ge(all.committed_bytes, stats_of(pool).committed_bytes);
	tide_put_bulk(pool, objs, OBJS);
	end_pool(pool);
}
END_TEST

static size_t
resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*u %lu", &pages), 1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

START_TEST(what_was_only_reserved_is_given_back_by_destroy)
{
	enum { OBJS = 1000000 };
	tide_pool *pool;
	struct tide_stats all;
	size_t before, reserved;

	if (SANITIZED)
		return; /* it has memory of its own for each byte of ours */
	end_pool(NEW_POOL("warm", 16));
	before = resident_bytes();
	pool = NEW_POOL("reserved", 16);
	ck_assert_int_eq(tide_pool_reserve(pool, OBJS), 0);
	reserved = resident_bytes() - before;
	ck_assert_uint_ge(reserved, OBJS * (16 + 8));
	ck_assert_uint_ge(stats_of(pool).committed_bytes, OBJS * (16 + 8));
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
	/* Words alone would be a third of it. */
	ck_assert_uint_lt(resident_bytes() - before, reserved / 10);
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_lt(all.committed_bytes, MIB);
}
END_TEST

START_TEST(misuses_are_counted)
{
	tide_pool *pool = NEW_POOL("misuse", 64);
	struct seen seen = { 0 };
	struct tide_stats all;

	tide_set_misuse_handler(see_report, &seen);
	for (unsigned i = 0; i < 5; i++)
		tide_put(pool, &seen);
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.misuses, 5);
	ck_assert_uint_eq(stats_of(pool).puts, 0);
	end_pool(pool);
}
END_TEST

static _Atomic bool stop;

static void *
work(void *arg)
{
	unsigned n = 0;

	while (!stop) {
		void *objs[200];

		n = n * 7 % 200 + 1;
		if (tide_get_bulk(arg, objs, n) == 0)
			tide_put_bulk(arg, objs, n);
		void *obj = tide_get(arg);

		if (obj != NULL && n % 5 == 0)
			tide_discard(arg, obj);
		else
			tide_put(arg, obj);
		if (n % 50 == 0)
			tide_thread_flush();
	}
	return NULL;
}

static void *
come_and_go(void *arg)
{
	tide_put(arg, tide_get(arg));
	return NULL;
}

static void
expect_growth(const struct tide_pool_stats *before, const struct tide_pool_stats *now)
{
#define GROWS(field)                                                                               \
	ck_assert_msg(now->field >= before->field, #field " fell from %llu to %llu",               \
		      (unsigned long long)before->field, (unsigned long long)now->field)
	GROWS(gets);
	GROWS(puts);
	GROWS(hits);
	GROWS(refills);
	GROWS(flushes);
	GROWS(remote_puts);
	GROWS(created);
	GROWS(released);
	GROWS(discards);
	GROWS(broken);
	GROWS(failed_gets);
	GROWS(local_gets);
	GROWS(contended);
#undef GROWS
}

START_TEST(counters_only_grow_while_threads_work_come_and_go)
{
	enum { SAMPLES = 2000 };
	struct tide_pool_stats before = { 0 }, now;
	tide_pool *pool;
	pthread_t threads[3];

	setenv("TIDENUMA", "fake=2", 1);
	pool = NEW_POOL("grow", 64, .max_bytes = 64 * 1000);
	for (unsigned i = 0; i < 3; i++)
		threads[i] = start(work, pool);
	for (unsigned i = 0; i < ROUNDS(SAMPLES); i++) {
		if (i % 20 == 0)
			run_thread(come_and_go, pool);
		now = stats_of(pool);
		expect_growth(&before, &now);
		/* Near enough: never negative numbers, never above the cap by much. */
		ck_assert_uint_lt(now.live_objects, 2000);
		ck_assert_uint_lt(now.idle_objects, 2000);
		before = now;
	}
	stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(now.gets, 0);
	end_pool(pool);
}
END_TEST

/* ---- older and newer structs ---------------------------------------------- */

/* Of the bytes, which were 0xee, n were given for stats, of which there are `known` bytes. */
static void
check_filled(const unsigned char *bytes, size_t all, size_t n, const void *stats, size_t known)
{
	if (known > n)
		known = n;
	ck_assert_msg(memcmp(bytes, stats, known) == 0, "of %zu bytes", n);
	ck_assert_msg(is_all(bytes + known, n - known, 0), "past what is known: %zu", n);
	ck_assert_msg(is_all(bytes + n, all - n, 0xee), "past the end: %zu", n);
}

START_TEST(stats_are_filled_up_to_the_size_given)
{
	tide_pool *pool = NEW_POOL("sized", 64);
	unsigned char bytes[sizeof(struct tide_pool_stats) + 64];
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 50; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		memset(bytes, 0xee, sizeof(bytes));
		tide_pool_stats_read(pool, (struct tide_pool_stats *)(void *)bytes, n);
		check_filled(bytes, sizeof(bytes), n, &stats, sizeof(stats));
	}
	end_pool(pool);
}
END_TEST

START_TEST(the_process_stats_are_filled_up_to_the_size_given)
{
	tide_pool *pool = NEW_POOL("sized", 64);
	unsigned char bytes[sizeof(struct tide_stats) + 64];
	struct tide_stats stats;

	tide_put(pool, tide_get(pool));
	tide_stats_read(&stats, sizeof(stats));
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		memset(bytes, 0xee, sizeof(bytes));
		tide_stats_read((struct tide_stats *)(void *)bytes, n);
		check_filled(bytes, sizeof(bytes), n, &stats, sizeof(stats));
	}
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		counters_are_exact_at_quiet_points,
		a_get_served_by_the_threads_magazines_is_a_hit,
		objects_of_64_kib_and_more_have_no_thread_cache,
		a_cache_holds_at_most_256_kib,
		the_process_sums_its_pools,
		committed_bytes_count_slots_and_their_words,
		what_was_only_reserved_is_given_back_by_destroy,
		misuses_are_counted,
		counters_only_grow_while_threads_work_come_and_go,
		stats_are_filled_up_to_the_size_given,
		the_process_stats_are_filled_up_to_the_size_given,
	};

	return run_tests("pool_stats", tests, LENGTH(tests));
}
