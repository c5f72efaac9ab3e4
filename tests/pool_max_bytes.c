/* SPDX-License-Identifier: MIT */
/*
 * pool_max_bytes.c - a cap is kept, and a get fails only after every idle object
 * was looked for: those in caches of threads that sleep for ever too.
 */
#include "common.h"

#include <poll.h>
#include <sched.h>

#define OBJECT 1000
#define CAP    200

/* A thread that has idle objects in its cache, and then does nothing at all. */
struct sleeper {
	tide_pool *pool;
	unsigned objs; /* it caches so many */
	bool in_poll;  /* else it waits for the condition */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool asleep, ends;
	int pipe[2];
	pthread_t thread;
};

static void *
sleep_with_objects(void *arg)
{
	struct sleeper *sleeper = arg;
	void *objs[CAP];

	ck_assert_int_eq(tide_get_bulk(sleeper->pool, objs, sleeper->objs), 0);
	for (unsigned i = 0; i < sleeper->objs; i++) {
		memset(objs[i], 0x5a, OBJECT);
		tide_put(sleeper->pool, objs[i]);
	}
	pthread_mutex_lock(&sleeper->lock);
	sleeper->asleep = true;
	pthread_cond_broadcast(&sleeper->changed);
	while (!sleeper->ends && !sleeper->in_poll)
		pthread_cond_wait(&sleeper->changed, &sleeper->lock);
	pthread_mutex_unlock(&sleeper->lock);
	if (sleeper->in_poll)
		poll(&(struct pollfd){ .fd = sleeper->pipe[0], .events = POLLIN }, 1, -1);
	tide_put(sleeper->pool, tide_get(sleeper->pool)); /* its cache still works */
	return NULL;
}

static void
start_sleeper(struct sleeper *sleeper, tide_pool *pool, unsigned objs, bool in_poll)
{
	*sleeper = (struct sleeper){ .pool = pool, .objs = objs, .in_poll = in_poll };
	pthread_mutex_init(&sleeper->lock, NULL);
	pthread_cond_init(&sleeper->changed, NULL);
	ck_assert_int_eq(pipe(sleeper->pipe), 0);
	sleeper->thread = start(sleep_with_objects, sleeper);
	pthread_mutex_lock(&sleeper->lock);
	while (!sleeper->asleep)
		pthread_cond_wait(&sleeper->changed, &sleeper->lock);
	pthread_mutex_unlock(&sleeper->lock);
}

static void
end_sleeper(struct sleeper *sleeper)
{
	pthread_mutex_lock(&sleeper->lock);
	sleeper->ends = true;
	pthread_cond_broadcast(&sleeper->changed);
	pthread_mutex_unlock(&sleeper->lock);
	ck_assert_int_eq(write(sleeper->pipe[1], "x", 1), 1);
	ck_assert_int_eq(pthread_join(sleeper->thread, NULL), 0);
	close(sleeper->pipe[0]);
	close(sleeper->pipe[1]);
}

static void
get_all_of_cap(tide_pool *pool, void **objs)
{
	for (unsigned i = 0; i < CAP; i++) {
		objs[i] = tide_get(pool);
		ck_assert_msg(objs[i] != NULL, "get %u of %d: %s", i, CAP, strerror(errno));
		ck_assert(is_all(objs[i], OBJECT, 0));
	}
	errno = 0;
	ck_assert_ptr_null(tide_get(pool));
	ck_assert_int_eq(errno, ENOMEM);
}

START_TEST(live_and_idle_bytes_never_exceed_the_cap)
{
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT + OBJECT / 2);
	struct tide_pool_stats stats;
	void *objs[CAP];

	for (unsigned round = 0; round < 3; round++) {
		get_all_of_cap(pool, objs);
		for (unsigned i = 0; i < CAP; i++) {
			stats = stats_of(pool);
			ck_assert_uint_le(stats.live_bytes + stats.idle_bytes, CAP * OBJECT);
			tide_put(pool, objs[i]);
		}
	}
	ck_assert_uint_eq(stats_of(pool).failed_gets, 3);
	ck_assert_uint_eq(stats_of(pool).created, CAP);
	end_pool(pool);
}
END_TEST

START_TEST(objects_cached_by_a_thread_in_poll_are_found)
{
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT);
	struct sleeper sleeper;
	void *objs[CAP];

	start_sleeper(&sleeper, pool, CAP, true);
	ck_assert_uint_eq(stats_of(pool).idle_objects, CAP);
	get_all_of_cap(pool, objs);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 0);
	tide_put_bulk(pool, objs, CAP);
	end_sleeper(&sleeper);
	end_pool(pool);
}
END_TEST

START_TEST(objects_cached_by_many_sleeping_threads_are_found)
{
	enum { SLEEPERS = 8 };
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT);
	struct sleeper sleepers[SLEEPERS];
	void *objs[CAP];

	/* The first one's are stolen by the next: at the end somebody has each. */
	for (unsigned i = 0; i < SLEEPERS; i++)
		start_sleeper(&sleepers[i], pool, CAP / SLEEPERS, i % 2);
	for (unsigned round = 0; round < 3; round++) {
		get_all_of_cap(pool, objs);
		check_pool(pool);
		tide_put_bulk(pool, objs, CAP);
	}
	for (unsigned i = 0; i < SLEEPERS; i++)
		end_sleeper(&sleepers[i]);
	end_pool(pool);
}
END_TEST

START_TEST(a_bulk_get_finds_what_sleeping_threads_cache)
{
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT);
	struct sleeper sleeper;
	void *objs[CAP];

	start_sleeper(&sleeper, pool, CAP / 2, false);
	ck_assert_int_eq(tide_get_bulk(pool, objs, CAP), 0);
	tide_put_bulk(pool, objs, CAP);
	end_sleeper(&sleeper);
	end_pool(pool);
}
END_TEST

/* Idle objects of other nodes count, and are looked for like those of the own one. */
START_TEST(idle_objects_of_other_nodes_make_room)
{
	tide_pool *pool;
	void *objs[CAP];

	setenv("TIDENUMA", "fake=4", 1);
	pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT);
	for (unsigned node = 0; node < 4; node++) {
		for (unsigned i = 0; i < CAP; i++) {
			objs[i] = tide_get_on(pool, node);
			ck_assert_msg(objs[i] != NULL, "node %u, get %u: %s", node, i,
				      strerror(errno));
			ck_assert(is_all(objs[i], OBJECT, 0));
			memset(objs[i], 0x5a, OBJECT);
		}
		errno = 0;
		ck_assert_ptr_null(tide_get_on(pool, (node + 1) % 4));
		ck_assert_int_eq(errno, ENOMEM);
		for (unsigned i = 0; i < CAP; i++)
			tide_put(pool, objs[i]);
		check_pool(pool);
		get_all_of_cap(pool, objs);
		tide_put_bulk(pool, objs, CAP);
	}
	end_pool(pool);
}
END_TEST

START_TEST(what_a_get_on_lets_go_to_make_room_is_finalized)
{
	struct hook_calls calls = { 0 };
	tide_pool *pool;
	void *objs[10];

	setenv("TIDENUMA", "fake=2", 1);
	pool = NEW_POOL("cap", 64, .max_bytes = 640, .init = count_init, .fini = count_fini,
			.ctx = &calls);
	for (unsigned i = 0; i < 10; i++)
		objs[i] = tide_get_on(pool, 0);
	tide_put_bulk(pool, objs, 10);
	for (unsigned i = 0; i < 10; i++) {
		objs[i] = tide_get_on(pool, 1);
		ck_assert_ptr_nonnull(objs[i]);
	}
	ck_assert_uint_eq(calls.inits, 20);
	ck_assert_uint_eq(calls.finis, 10);
	tide_put_bulk(pool, objs, 10);
	end_pool(pool);
	ck_assert_uint_eq(calls.finis, 20);
}
END_TEST

START_TEST(discards_and_broken_objects_give_their_room_back)
{
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = CAP * OBJECT);
	void *objs[CAP];

	for (unsigned round = 0; round < 3; round++) {
		get_all_of_cap(pool, objs);
		for (unsigned i = 0; i < CAP; i++)
			tide_discard(pool, objs[i]);
	}
	end_pool(pool);
}
END_TEST

/* Put while pinned counts as live: it holds its room until the last unpin. */
START_TEST(an_object_put_while_pinned_holds_its_room)
{
	tide_pool *pool = NEW_POOL("cap", 64, .max_bytes = 64);
	tide_ref ref;
	void *obj = tide_get_ref(pool, &ref);

	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_put(pool, obj);
	ck_assert_ptr_null(tide_get(pool));
	ck_assert_int_eq(errno, ENOMEM);
	tide_unpin(pool, obj);
	tide_put(pool, tide_get(pool));
	ck_assert_uint_eq(stats_of(pool).gets, 2);
	end_pool(pool);
}
END_TEST

static void *
get_put_at_the_cap(void *arg)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < ROUNDS(20000); i++) {
		char *obj = tide_get(arg);

		if (obj == NULL) {
			ck_assert_int_eq(errno, ENOMEM);
			failed++;
			continue;
		}
		ck_assert(is_all(obj, OBJECT, 0));
		memset(obj, 0x5a, 64);
		tide_put_used(arg, obj, 64);
	}
	return (void *)(uintptr_t)failed;
}

/* As many objects as threads: nobody may starve while the others hold one each. */
START_TEST(with_one_object_a_thread_only_races_can_fail)
{
	enum { THREADS = 4 };
	tide_pool *pool = NEW_POOL("cap", OBJECT, .max_bytes = (size_t)THREADS * OBJECT);
	pthread_t threads[THREADS];
	struct tide_pool_stats stats;
	uint64_t failed = 0;
	void *result;

	for (unsigned i = 0; i < THREADS; i++)
		threads[i] = start(get_put_at_the_cap, pool);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &result);
		failed += (uintptr_t)result;
	}
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.failed_gets, failed);
	ck_assert_uint_eq(stats.gets + stats.failed_gets, THREADS * ROUNDS(20000));
	ck_assert_uint_gt(stats.gets, stats.failed_gets);
	ck_assert_uint_le(stats.idle_objects, THREADS);
	end_pool(pool);
}
END_TEST

/* ---- reserve -------------------------------------------------------------- */

/* Both pages of the object are in memory though nobody wrote to it yet. */
static bool
is_resident(const void *obj)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = (uintptr_t)obj & ~(page - 1);
	size_t pages = ((uintptr_t)obj + OBJECT - 1 - from) / page + 1;
	unsigned char in_core[2] = { 0 };

	ck_assert_int_eq(mincore((void *)from, pages * page, in_core), 0);
	return (in_core[0] & 1) && (pages == 1 || (in_core[1] & 1));
}

START_TEST(reserve_commits_memory_and_runs_no_hook)
{
	struct hook_calls calls = { 0 };
	tide_pool *pool =
		NEW_POOL("reserve", OBJECT, .init = count_init, .fini = count_fini, .ctx = &calls);
	void *objs[CAP];

	ck_assert_int_eq(tide_pool_reserve(pool, CAP), 0);
	ck_assert_uint_ge(stats_of(pool).committed_bytes, CAP * OBJECT);
	ck_assert_uint_eq(calls.inits, 0);
	ck_assert_uint_eq(stats_of(pool).created, 0);
	for (unsigned i = 0; i < CAP; i++) {
		objs[i] = tide_get(pool);
		ck_assert_msg(is_resident(objs[i]), "object %u would fault", i);
	}
	/* At least so many beside the live ones. */
	ck_assert_int_eq(tide_pool_reserve(pool, CAP), 0);
	ck_assert_uint_ge(stats_of(pool).committed_bytes, 2 * CAP * OBJECT);
	tide_put_bulk(pool, objs, CAP);
	ck_assert_int_eq(tide_pool_reserve(pool, 0), 0);
	end_pool(pool);
}
END_TEST

/* What lies idle on another node is no help to the gets here. */
START_TEST(reserve_commits_memory_on_the_callers_node)
{
	tide_pool *pool;
	void *objs[CAP];
	cpu_set_t set;

	setenv("TIDENUMA", "fake=2", 1); /* cpu 0 is on node 0 */
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
	pool = NEW_POOL("reserve", OBJECT);
	for (unsigned i = 0; i < CAP; i++)
		objs[i] = tide_get_on(pool, 1);
	tide_put_bulk(pool, objs, CAP);
	ck_assert_int_eq(tide_pool_reserve(pool, CAP), 0);
	for (unsigned i = 0; i < CAP; i++) {
		objs[i] = tide_get_on(pool, 0);
		ck_assert_msg(is_resident(objs[i]), "object %u would fault", i);
	}
	tide_put_bulk(pool, objs, CAP);
	end_pool(pool);
}
END_TEST

START_TEST(reserve_beyond_the_cap_or_the_machine_is_enomem)
{
	tide_pool *pool = NEW_POOL("reserve", OBJECT, .max_bytes = CAP * OBJECT);
	void *obj = tide_get(pool);

	ck_assert_int_eq(tide_pool_reserve(pool, CAP - 1), 0);
	ck_assert_int_eq(tide_pool_reserve(pool, CAP + 1), -ENOMEM);
	tide_put(pool, obj);
	end_pool(pool);
	pool = NEW_POOL("reserve", 64 * MIB);
	ck_assert_int_eq(tide_pool_reserve(pool, SIZE_MAX), -ENOMEM);
	ck_assert_int_eq(tide_pool_reserve(pool, SIZE_MAX / (64 * MIB)), -ENOMEM);
	tide_put(pool, tide_get(pool));
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		live_and_idle_bytes_never_exceed_the_cap,
		objects_cached_by_a_thread_in_poll_are_found,
		objects_cached_by_many_sleeping_threads_are_found,
		a_bulk_get_finds_what_sleeping_threads_cache,
		idle_objects_of_other_nodes_make_room,
		what_a_get_on_lets_go_to_make_room_is_finalized,
		discards_and_broken_objects_give_their_room_back,
		an_object_put_while_pinned_holds_its_room,
		with_one_object_a_thread_only_races_can_fail,
		reserve_commits_memory_and_runs_no_hook,
		reserve_commits_memory_on_the_callers_node,
		reserve_beyond_the_cap_or_the_machine_is_enomem,
	};

	return run_tests("pool_max_bytes", tests, LENGTH(tests));
}
