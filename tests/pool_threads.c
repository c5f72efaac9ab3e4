/* SPDX-License-Identifier: MIT */
/* pool_threads.c - threads that come, go, sleep and have no caches any more; nodes; placements. */
#include "common.h"

#include <sched.h>

static void *
put_and_exit(void *arg)
{
	void *objs[500];

	ck_assert_int_eq(tide_get_bulk(arg, objs, 500), 0);
	for (unsigned i = 0; i < 500; i++)
		tide_put(arg, objs[i]);
	return NULL;
}

static void
get_all_without_a_new_one(tide_pool *pool, unsigned n)
{
	uint64_t created = stats_of(pool).created;
	void *objs[500];

	for (unsigned i = 0; i < n; i++)
		objs[i] = tide_get(pool);
	ck_assert_uint_eq(stats_of(pool).created, created);
	ck_assert_uint_eq(stats_of(pool).idle_objects, created - n);
	tide_put_bulk(pool, objs, n);
}

START_TEST(the_exit_of_a_thread_hands_everything_back)
{
	tide_pool *pool = NEW_POOL("exit", 64);

	run_thread(put_and_exit, pool);
	ck_assert_uint_eq(stats_of(pool).caches, 0);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 500);
	check_pool(pool);
	get_all_without_a_new_one(pool, 500);
	end_pool(pool);
}
END_TEST

struct flusher {
	tide_pool *pool;
	pthread_barrier_t barrier;
};

static void *
put_flush_and_wait(void *arg)
{
	struct flusher *flusher = arg;

	put_and_exit(flusher->pool);
	tide_thread_flush();
	tide_thread_flush(); /* nothing is left, nothing happens */
	pthread_barrier_wait(&flusher->barrier);
	pthread_barrier_wait(&flusher->barrier);
	return NULL;
}

START_TEST(thread_flush_lets_other_threads_have_what_was_cached)
{
	struct flusher flusher = { .pool = NEW_POOL("flush", 64) };
	pthread_t thread;

	pthread_barrier_init(&flusher.barrier, NULL, 2);
	thread = start(put_flush_and_wait, &flusher);
	pthread_barrier_wait(&flusher.barrier);
	get_all_without_a_new_one(flusher.pool, 500);
	pthread_barrier_wait(&flusher.barrier);
	pthread_join(thread, NULL);
	end_pool(flusher.pool);
}
END_TEST

struct heir {
	tide_pool *pool;
	pthread_barrier_t done;  /* of one thread, and main */
	pthread_barrier_t leave; /* of all */
};

static void *
get_put_and_wait(void *arg)
{
	struct heir *heir = arg;

	tide_put(heir->pool, tide_get(heir->pool));
	pthread_barrier_wait(&heir->done);
	pthread_barrier_wait(&heir->leave);
	return NULL;
}

/* A thread that needs one object does not keep all of them from the next. */
START_TEST(what_a_thread_left_is_shared_by_those_that_come)
{
	struct heir heir = { .pool = NEW_POOL("heirs", 64) };
	pthread_t threads[4];
	void *objs[8];

	ck_assert_int_eq(tide_get_bulk(heir.pool, objs, 8), 0);
	tide_put_bulk(heir.pool, objs, 8);
	tide_thread_flush();
	pthread_barrier_init(&heir.done, NULL, 2);
	pthread_barrier_init(&heir.leave, NULL, 5);
	/* One after another; none leaves before all have been. */
	for (unsigned i = 0; i < 4; i++) {
		threads[i] = start(get_put_and_wait, &heir);
		pthread_barrier_wait(&heir.done);
	}
	ck_assert_uint_eq(stats_of(heir.pool).created, 8);
	pthread_barrier_wait(&heir.leave);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&heir.done);
	pthread_barrier_destroy(&heir.leave);
	end_pool(heir.pool);
}
END_TEST

START_TEST(a_flush_before_anything_else_is_good)
{
	tide_thread_flush();
	end_pool(NEW_POOL("late", 64));
}
END_TEST

/* ---- threads whose caches are gone ---------------------------------------- */

/* As many as POSIX has; but TSan ends a thread's own records in the last one. */
#define LATE_ROUNDS (THREAD_SANITIZED ? 2u : 4u)

static pthread_key_t late_key;
static tide_pool *late_pool;
static unsigned late_rounds;

/*
 * Runs in every round of destructors, so in the last one for certain after the
 * library's own.
 */
static void
put_late(void *arg)
{
	void *objs[20];
	tide_ref ref;
	char *obj;

	(void)arg;
	for (unsigned i = 0; i < 20; i++) {
		objs[i] = tide_get(late_pool);
		ck_assert_ptr_nonnull(objs[i]);
		ck_assert(is_all(objs[i], 64, 0));
		memset(objs[i], 0x5a, 64);
	}
	for (unsigned i = 0; i < 20; i++)
		tide_put(late_pool, objs[i]);
	obj = tide_get_ref(late_pool, &ref);
	ck_assert_ptr_eq(tide_pin(late_pool, ref), obj);
	ck_assert_int_eq(tide_put_ref(late_pool, ref), 0);
	tide_unpin(late_pool, obj);
	ck_assert_int_eq(tide_get_bulk(late_pool, objs, 20), 0);
	tide_put_bulk(late_pool, objs, 20);
	tide_thread_flush();
	if (++late_rounds < LATE_ROUNDS)
		pthread_setspecific(late_key, &late_rounds);
}

static void *
exit_with_late_puts(void *arg)
{
	pthread_setspecific(late_key, &late_rounds);
	if (arg != NULL)
		put_and_exit(late_pool);
	return NULL;
}

static void
try_late_puts(bool key_first, bool uses_pool_before)
{
	if (key_first)
		pthread_key_create(&late_key, put_late);
	late_pool = NEW_POOL("late", 64);
	if (!key_first)
		pthread_key_create(&late_key, put_late);
	late_rounds = 0;
	for (unsigned i = 0; i < 4; i++) {
		late_rounds = 0;
		run_thread(exit_with_late_puts, uses_pool_before ? late_pool : NULL);
		ck_assert_uint_eq(late_rounds, LATE_ROUNDS);
		ck_assert_uint_eq(stats_of(late_pool).caches, 0);
		check_pool(late_pool);
	}
	get_all_without_a_new_one(late_pool, 20);
	end_pool(late_pool);
}

START_TEST(destructors_after_ours_may_use_the_pool)
{
	try_late_puts(false, true);
}
END_TEST

START_TEST(destructors_before_ours_may_use_the_pool)
{
	try_late_puts(true, true);
}
END_TEST

START_TEST(destructors_of_a_thread_that_never_used_the_pool_may_use_it)
{
	try_late_puts(true, false);
}
END_TEST

static void *
churn(void *arg)
{
	uintptr_t seed = (uintptr_t)&arg;

	for (unsigned round = 0; round < 20; round++) {
		void *objs[40];
		size_t n = 1 + (seed >> 4) % 40;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		ck_assert_int_eq(tide_get_bulk(arg, objs, n), 0);
		for (size_t i = 0; i < n; i++) {
			ck_assert(is_all(objs[i], 64, 0));
			memset(objs[i], 0x5a, 64);
		}
		tide_put_bulk(arg, objs, n);
	}
	return NULL;
}

/* Every thread ends; what is created is what four at once need, not what 800 do. */
START_TEST(nothing_is_lost_whatever_threads_come_and_go)
{
	tide_pool *pool;
	pthread_t threads[4];

	setenv("TIDENUMA", "fake=4", 1);
	pool = NEW_POOL("churn", 64);
	for (unsigned i = 0; i < ROUNDS(800); i++) {
		if (i >= 4)
			pthread_join(threads[i % 4], NULL);
		threads[i % 4] = start(churn, pool);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	check_pool(pool);
	ck_assert_uint_eq(stats_of(pool).caches, 0);
	ck_assert_uint_eq(stats_of(pool).live_objects, 0);
	ck_assert_uint_lt(stats_of(pool).created, 4 * 4 * 600);
	end_pool(pool);
}
END_TEST

static void *
put_theirs(void *arg)
{
	void **objs = arg;

	for (unsigned i = 1; i <= 1000; i++)
		tide_put(objs[0], objs[i]);
	return NULL;
}

/* Got here, put there, again and again: what is put there must come back. */
START_TEST(objects_handed_over_are_reused)
{
	void *objs[1001];

	objs[0] = NEW_POOL("over", 64);
	for (unsigned round = 0; round < 20; round++) {
		ck_assert_int_eq(tide_get_bulk(objs[0], objs + 1, 1000), 0);
		run_thread(put_theirs, objs);
	}
	ck_assert_uint_le(stats_of(objs[0]).created, 2000);
	end_pool(objs[0]);
}
END_TEST

/* ---- nodes ---------------------------------------------------------------- */

START_TEST(get_on_gives_objects_of_that_node)
{
	tide_pool *pool;
	unsigned char *objs[4][100];

	setenv("TIDENUMA", "fake=4", 1);
	pool = NEW_POOL("nodes", 64);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned node = 0; node < 4; node++) {
			for (unsigned i = 0; i < 100; i++) {
				objs[node][i] = tide_get_on(pool, node);
				ck_assert_ptr_nonnull(objs[node][i]);
				ck_assert(is_all(objs[node][i], 64, 0));
				memset(objs[node][i], 0x5a, 64);
			}
		}
		for (unsigned node = 0; node < 4; node++)
			for (unsigned i = 0; i < 100; i++)
				tide_put(pool, objs[node][i]);
		check_pool(pool); /* home: each idle object on its node */
	}
	/* Each round could reuse the objects of its node, so it did. */
	ck_assert_uint_eq(stats_of(pool).created, 400);
	end_pool(pool);
}
END_TEST

START_TEST(get_on_a_node_that_is_not_there_is_einval)
{
	tide_pool *pool, *bound, *spread;

	setenv("TIDENUMA", "fake=3", 1);
	pool = NEW_POOL("local", 64);
	bound = NEW_POOL("bound", 64, .placement = TIDE_BIND, .node = 1);
	spread = NEW_POOL("spread", 64, .placement = TIDE_INTERLEAVE);
	static const unsigned nodes[] = { 3, 64, UINT32_MAX };

	for (size_t i = 0; i < LENGTH(nodes); i++) {
		errno = 0;
		ck_assert_ptr_null(tide_get_on(pool, nodes[i]));
		ck_assert_int_eq(errno, EINVAL);
		ck_assert_ptr_null(tide_get_on(spread, nodes[i]));
	}
	errno = 0;
	ck_assert_ptr_null(tide_get_on(bound, 0)); /* there is one, but not for this pool */
	ck_assert_int_eq(errno, EINVAL);
	tide_put(bound, tide_get_on(bound, 1));
	ck_assert_uint_eq(stats_of(bound).gets, 1);
	end_pool(pool);
	end_pool(bound);
	end_pool(spread);
}
END_TEST

START_TEST(a_bound_pool_takes_all_memory_from_its_node)
{
	tide_pool *pool;
	void *objs[300];

	setenv("TIDENUMA", "fake=4", 1);
	pool = NEW_POOL("bound", 64, .placement = TIDE_BIND, .node = 3);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 300; i++) {
			objs[i] = i % 2 ? tide_get(pool) : tide_get_on(pool, 3);
			ck_assert_ptr_nonnull(objs[i]);
		}
		for (unsigned i = 0; i < 300; i++)
			tide_put(pool, objs[i]);
		check_pool(pool);
	}
	ck_assert_uint_eq(stats_of(pool).created, 300);
	end_pool(pool);
}
END_TEST

START_TEST(an_interleaved_pool_is_one_for_all_threads)
{
	tide_pool *pool;

	setenv("TIDENUMA", "fake=4", 1);
	pool = NEW_POOL("spread", 64, .placement = TIDE_INTERLEAVE);
	for (unsigned i = 0; i < 8; i++)
		run_thread(put_and_exit, pool);
	ck_assert_uint_eq(stats_of(pool).created, 500);
	end_pool(pool);
}
END_TEST

/* Threads run on one cpu each, so on nodes of their own if there are cpus for it. */
static void *
put_on_a_cpu(void *arg)
{
	void **objs = arg;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(1, &set);
	if (sched_setaffinity(0, sizeof(set), &set) != 0)
		return NULL; /* there is one cpu only */
	for (unsigned i = 1; i <= 1000; i++)
		tide_put(objs[0], objs[i]);
	ck_assert_uint_eq(stats_of(objs[0]).remote_puts, 1000);
	return objs;
}

START_TEST(objects_put_on_another_node_go_home)
{
	void *objs[1001], *done;
	pthread_t thread;
	cpu_set_t set;

	setenv("TIDENUMA", "fake=2", 1);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	sched_setaffinity(0, sizeof(set), &set);
	objs[0] = NEW_POOL("home", 64);
	for (unsigned i = 1; i <= 1000; i++)
		objs[i] = tide_get_on(objs[0], 0);
	thread = start(put_on_a_cpu, objs);
	pthread_join(thread, &done);
	if (done == NULL)
		tide_put_bulk(objs[0], objs + 1, 1000);
	check_pool(objs[0]);
	for (unsigned i = 1; i <= 1000; i++)
		objs[i] = tide_get_on(objs[0], 0);
	ck_assert_uint_eq(stats_of(objs[0]).created, 1000);
	tide_put_bulk(objs[0], objs + 1, 1000);
	end_pool(objs[0]);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		the_exit_of_a_thread_hands_everything_back,
		thread_flush_lets_other_threads_have_what_was_cached,
		what_a_thread_left_is_shared_by_those_that_come,
		a_flush_before_anything_else_is_good,
		destructors_after_ours_may_use_the_pool,
		destructors_before_ours_may_use_the_pool,
		destructors_of_a_thread_that_never_used_the_pool_may_use_it,
		nothing_is_lost_whatever_threads_come_and_go,
		objects_handed_over_are_reused,
		get_on_gives_objects_of_that_node,
		get_on_a_node_that_is_not_there_is_einval,
		a_bound_pool_takes_all_memory_from_its_node,
		an_interleaved_pool_is_one_for_all_threads,
		objects_put_on_another_node_go_home,
	};

	return run_tests("pool_threads", tests, LENGTH(tests));
}
