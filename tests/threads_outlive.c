/* SPDX-License-Identifier: MIT */
/*
 * Detached threads that outlive main: they get and put while main returns, while
 * exit() runs the handlers and the destructors of libraries, to the very end of the
 * process; or after main's thread has gone by pthread_exit(). No crash, no report,
 * and handlers that run late may use the pool too.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include <tide.h>

#include "stress.h"

#define THREADS 3
#define ROUNDS  (STRESS_SLOWDOWN > 1 ? 8u : 40u)
#define STATUS  7 /* the child's own */

enum ending { RETURN, EXIT, LAST_THREAD, ENDINGS };

static tide_pool *pools[3];
static _Atomic unsigned at_work;
static _Atomic bool main_is_gone;

static int
reset_hook(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	return 0;
}

static void
pair(tide_pool *pool)
{
	void *objs[40];
	tide_ref ref;
	void *obj = tide_get_ref(pool, &ref);

	STRESS_CHECK(obj != NULL && tide_pin(pool, ref) == obj, "get: %s", strerror(errno));
	STRESS_CHECK(tide_put_ref(pool, ref) == 0, "put_ref");
	tide_unpin(pool, obj);
	STRESS_CHECK(tide_get_bulk(pool, objs, 40) == 0, "get_bulk");
	tide_put_bulk(pool, objs, 40);
}

static void *
work(void *arg)
{
	uint64_t random = stress_stream((uintptr_t)arg);

	for (unsigned i = 0;; i++) {
		pair(pools[stress_below(&random, 3)]);
		if (i == 0)
			atomic_fetch_add(&at_work, 1);
		if (stress_below(&random, 16) == 0)
			tide_thread_flush();
		if (stress_below(&random, 64) == 0)
			tide_discard(pools[0], tide_get(pools[0]));
	}
	return NULL;
}

/* Works for a while after main has gone, and ends the process. */
static void *
work_and_end(void *arg)
{
	(void)arg;
	while (!atomic_load(&main_is_gone))
		sched_yield();
	for (unsigned i = 0; i < 300; i++)
		pair(pools[i % 3]);
	exit(STATUS);
}

static void
use_late(void)
{
	struct tide_stats stats;

	for (unsigned i = 0; i < 30; i++)
		pair(pools[i % 3]);
	tide_stats_read(&stats, sizeof(stats));
	STRESS_CHECK(stats.misuses == 0, "misuses");
	tide_thread_flush();
}

/* After main's own destructors, before the process is gone. */
__attribute__((destructor)) static void
use_very_late(void)
{
	if (pools[0] != NULL)
		use_late();
}

static void
begin(enum ending ending)
{
	static const size_t sizes[] = { 48, 300, 70000 };
	pthread_t thread;

	setenv("TIDENUMA", "fake=2", 1);
	STRESS_CHECK(atexit(use_late) == 0, "atexit");
	for (unsigned i = 0; i < 3; i++) {
		pools[i] = tide_pool_create(&(struct tide_pool_config){
			.config_bytes = sizeof(struct tide_pool_config),
			.name = "outlives",
			.object_bytes = sizes[i],
			.reset = i == 1 ? reset_hook : tide_reset_zero,
		});
		STRESS_CHECK(pools[i] != NULL, "create");
	}
	for (uintptr_t i = 0; i < THREADS; i++) {
		STRESS_CHECK(pthread_create(&thread, NULL, work, (void *)i) == 0, "create");
		pthread_detach(thread);
	}
	if (ending == LAST_THREAD) {
		STRESS_CHECK(pthread_create(&thread, NULL, work_and_end, NULL) == 0, "create");
		pthread_detach(thread);
	}
	while (atomic_load(&at_work) < THREADS)
		sched_yield();
	use_late();
}

int
main(int argc, char **argv)
{
	unsigned rounds = 0;

	stress_start(argc, argv);
	for (; stress_goes_on(rounds, ROUNDS); rounds++) {
		enum ending ending = (enum ending)(rounds % ENDINGS);
		pid_t child = fork();
		int status;

		STRESS_CHECK(child >= 0, "fork");
		if (child == 0) {
			alarm(60);
			stress_seed += rounds;
			begin(ending);
			if (ending == EXIT)
				exit(STATUS);
			if (ending == RETURN)
				return STATUS;
			atomic_store(&main_is_gone, true);
			pthread_exit(NULL);
		}
		STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
		STRESS_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS,
			     "ending %u: status %#x", (unsigned)ending, (unsigned)status);
	}
	printf("%u processes\n", rounds);
	return 0;
}
