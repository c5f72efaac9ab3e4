/* SPDX-License-Identifier: MIT */
/*
 * What a child finds: what other threads had cached, on every node; what they had got,
 * and had pinned; the same in a child's child.
 */
#include "fork.h"

/* ---- what other threads had cached, and had got --------------------------- */

#define CACHED        40u
#define SLEEPER_COUNT 4u

struct sleepers {
	tide_pool *pool;
	pthread_barrier_t asleep, over;
	tide_ref ref; /* of what the last one owns, and has pinned, and has put pinned */
	tide_ref pinned;
};

static void *
cache_and_sleep(void *arg)
{
	struct sleepers *sleepers = arg;
	void *objs[CACHED];

	if (tide_get_bulk(sleepers->pool, objs, CACHED) != 0)
		abort();
	tide_put_bulk(sleepers->pool, objs, CACHED);
	pthread_barrier_wait(&sleepers->asleep);
	pthread_barrier_wait(&sleepers->over);
	return NULL;
}

static void
start_sleepers(struct sleepers *sleepers, pthread_t *threads, void *(*fn)(void *), unsigned n)
{
	pthread_barrier_init(&sleepers->asleep, NULL, n + 1);
	pthread_barrier_init(&sleepers->over, NULL, n + 1);
	for (unsigned i = 0; i < n; i++)
		threads[i] = start(fn, sleepers);
	pthread_barrier_wait(&sleepers->asleep);
}

static void
end_sleepers(struct sleepers *sleepers, pthread_t *threads, unsigned n)
{
	pthread_barrier_wait(&sleepers->over);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* All that is idle is handed out before anything is made. */
static void
take_all(tide_pool *pool, uint64_t idle)
{
	uint64_t created = stats_of(pool).created;
	void *objs[CACHED * SLEEPER_COUNT];

	for (uint64_t i = 0; i < idle; i++) {
		objs[i] = tide_get(pool);
		CHILD_CHECK(objs[i] != NULL);
	}
	CHILD_CHECK(stats_of(pool).created == created);
	for (uint64_t i = 0; i < idle; i++)
		tide_put(pool, objs[i]);
}

static void
child_finds_idle_objects(const char *nodes, size_t bytes)
{
	struct sleepers sleepers;
	pthread_t threads[SLEEPER_COUNT];
	uint64_t idle;
	pid_t pid;

	setenv("TIDENUMA", nodes, 1);
	sleepers.pool = NEW_POOL("cached", bytes);
	start_sleepers(&sleepers, threads, cache_and_sleep, SLEEPER_COUNT);
	idle = stats_of(sleepers.pool).idle_objects;
	ck_assert_uint_ge(idle, CACHED);
	ck_assert_uint_le(idle, CACHED * SLEEPER_COUNT);
	pid = fork_child();
	if (pid == 0) {
		CHILD_CHECK(stats_of(sleepers.pool).caches <= 1);
		check_child_pool(sleepers.pool, 0, idle);
		take_all(sleepers.pool, idle);
		tide_thread_flush();
		check_child_pool(sleepers.pool, 0, idle);
		pid = fork_child();
		if (pid == 0) {
			take_all(sleepers.pool, idle);
			check_child_pool(sleepers.pool, 0, idle);
			CHILD_CHECK(tide_pool_destroy(sleepers.pool) == 0);
			_exit(0);
		}
		wait_for(pid);
		CHILD_CHECK(tide_pool_destroy(sleepers.pool) == 0);
		_exit(0);
	}
	wait_for(pid);
	end_sleepers(&sleepers, threads, SLEEPER_COUNT);
	end_pool(sleepers.pool);
}

START_TEST(a_child_is_served_what_threads_that_are_gone_had_cached)
{
	child_finds_idle_objects("off", 64);
}
END_TEST

START_TEST(a_child_is_served_it_from_every_node)
{
	child_finds_idle_objects("fake=4", 64);
}
END_TEST

START_TEST(a_child_is_served_what_no_thread_caches)
{
	child_finds_idle_objects("fake=4", 70000);
}
END_TEST

START_TEST(a_child_whose_own_child_comes_first_loses_nothing)
{
	struct sleepers sleepers;
	pthread_t threads[SLEEPER_COUNT];
	uint64_t idle;
	pid_t pid;

	sleepers.pool = NEW_POOL("cached", 64);
	start_sleepers(&sleepers, threads, cache_and_sleep, SLEEPER_COUNT);
	idle = stats_of(sleepers.pool).idle_objects;
	pid = fork_child();
	if (pid == 0) {
		/* No call of tidepool in between. */
		pid = fork_child();
		check_child_pool(sleepers.pool, 0, idle);
		take_all(sleepers.pool, idle);
		if (pid == 0)
			_exit(0);
		wait_for(pid);
		_exit(0);
	}
	wait_for(pid);
	end_sleepers(&sleepers, threads, SLEEPER_COUNT);
	end_pool(sleepers.pool);
}
END_TEST

static void *
own_pin_and_sleep(void *arg)
{
	struct sleepers *sleepers = arg;
	tide_ref leaving;
	void *owned = tide_get_ref(sleepers->pool, &sleepers->ref);
	void *left = tide_get_ref(sleepers->pool, &leaving);

	if (owned == NULL || tide_pin(sleepers->pool, sleepers->pinned) == NULL ||
	    tide_pin(sleepers->pool, leaving) == NULL)
		abort();
	tide_put(sleepers->pool, left);
	pthread_barrier_wait(&sleepers->asleep);
	pthread_barrier_wait(&sleepers->over);
	tide_unpin(sleepers->pool, left);
	tide_put(sleepers->pool, owned);
	return NULL;
}

static int
count_one(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	++*(unsigned *)arg;
	return 0;
}

START_TEST(what_threads_that_are_gone_had_got_or_pinned_is_live_in_the_child)
{
	struct sleepers sleepers;
	unsigned visits = 0, reports = 0;
	pthread_t thread;
	void *mine;
	pid_t pid;

	sleepers.pool = NEW_POOL("owned", 64);
	mine = tide_get_ref(sleepers.pool, &sleepers.pinned);
	start_sleepers(&sleepers, &thread, own_pin_and_sleep, 1);
	pid = fork_child();
	if (pid == 0) {
		/* Mine, theirs, and the one that was put pinned. */
		check_child_pool(sleepers.pool, 3, 0);
		CHILD_CHECK(tide_ref_is_live(sleepers.pool, sleepers.ref));
		CHILD_CHECK(tide_pool_each(sleepers.pool, count_one, &visits) == 2);
		/* What I put stays with the pin that is on it. */
		tide_put(sleepers.pool, mine);
		CHILD_CHECK(!tide_ref_is_live(sleepers.pool, sleepers.pinned));
		check_child_pool(sleepers.pool, 3, 0);
		/* Who knows the ref may put it in the other thread's place. */
		CHILD_CHECK(tide_put_ref(sleepers.pool, sleepers.ref) == 0);
		check_child_pool(sleepers.pool, 2, 1);
		tide_set_misuse_handler(ignore_report, &reports);
		CHILD_CHECK(tide_pool_destroy(sleepers.pool) == -EBUSY && reports == 1);
		_exit(0);
	}
	wait_for(pid);
	ck_assert_uint_eq(stats_of(sleepers.pool).live_objects, 3);
	end_sleepers(&sleepers, &thread, 1);
	tide_unpin(sleepers.pool, mine);
	tide_put(sleepers.pool, mine);
	end_pool(sleepers.pool);
}
END_TEST

/* ---- main ----------------------------------------------------------------- */

int
main(void)
{
	const TTest *const tests[] = {
		a_child_is_served_what_threads_that_are_gone_had_cached,
		a_child_is_served_it_from_every_node,
		a_child_is_served_what_no_thread_caches,
		a_child_whose_own_child_comes_first_loses_nothing,
		what_threads_that_are_gone_had_got_or_pinned_is_live_in_the_child,
	};

	return run_tests("fork_child", tests, LENGTH(tests));
}
