/* SPDX-License-Identifier: MIT */
/*
 * Forks at bad moments: during the first call, with the program's own locks held, out
 * of signal handlers; and children that only exec, however they are started.
 */
#include "fork.h"

#include <spawn.h>
#include <sys/resource.h>

/* ---- the first call ------------------------------------------------------- */

static _Atomic bool init_begins;

static void *
call_first(void *arg)
{
	(void)arg;
	atomic_store(&init_begins, true);
	if (tide_init() != 0)
		abort();
	return NULL;
}

static void
use_a_pool(void)
{
	tide_pool *pool = tide_pool_create(CONFIG("first", 64));
	void *obj;

	CHILD_CHECK(pool != NULL);
	obj = tide_get(pool);
	CHILD_CHECK(obj != NULL);
	tide_put(pool, obj);
	check_child_pool(pool, 0, 1);
	CHILD_CHECK(tide_pool_destroy(pool) == 0);
}

/* Each try in a process of its own, which has not made the first call. */
START_TEST(a_fork_during_the_first_call_of_another_thread)
{
	for (long i = 0; i < ROUNDS(40); i++) {
		pid_t pid = fork_child();

		if (pid == 0) {
			pthread_t thread = start(call_first, NULL);

			while (!atomic_load(&init_begins))
				sched_yield();
			usleep((useconds_t)(i * 300));
			pid = fork_child();
			if (pid == 0) {
				use_a_pool();
				_exit(0);
			}
			use_a_pool();
			pthread_join(thread, NULL);
			wait_for(pid);
			_exit(0);
		}
		wait_for(pid);
	}
}
END_TEST

START_TEST(a_fork_before_the_first_call_does_not_make_gates_slow)
{
	struct tide_stats stats;
	uint64_t slow;
	pid_t pid = fork_child();

	if (pid == 0) {
		tide_stats_read(&stats, sizeof(stats));
		_exit((int)stats.slow_gates);
	}
	tide_stats_read(&stats, sizeof(stats));
	slow = stats.slow_gates;
	if (slow == 0)
		wait_for(pid);
	else
		waitpid(pid, NULL, 0);
	/* And so it was without a fork, in a process of the same kind. */
	pid = fork_child();
	if (pid == 0) {
		tide_stats_read(&stats, sizeof(stats));
		_exit(stats.slow_gates != slow);
	}
	wait_for(pid);
}
END_TEST

/* ---- locks of the program ------------------------------------------------- */

static pthread_mutex_t program_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool over;

static void
lock_program(void)
{
	pthread_mutex_lock(&program_lock);
}

static void
unlock_program(void)
{
	pthread_mutex_unlock(&program_lock);
}

static void *
call_with_the_lock(void *arg)
{
	tide_pool *pool = arg;

	while (!atomic_load(&over)) {
		pthread_mutex_lock(&program_lock);
		tide_put(pool, tide_get(pool));
		tide_thread_flush();
		pthread_mutex_unlock(&program_lock);
	}
	return NULL;
}

START_TEST(a_program_that_takes_its_own_locks_for_a_fork_does_not_hang)
{
	tide_pool *pool;
	pthread_t thread[2];

	/* Registered before tidepool's first call, as a program's are. */
	ck_assert_int_eq(pthread_atfork(lock_program, unlock_program, unlock_program), 0);
	pool = NEW_POOL("locked", 64);
	alarm(HANG_SECONDS);
	for (unsigned i = 0; i < 2; i++)
		thread[i] = start(call_with_the_lock, pool);
	for (long i = 0; i < ROUNDS(200); i++) {
		pid_t pid = fork_child();

		if (pid == 0)
			_exit(tide_check() != 0);
		wait_for(pid);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	end_pool(pool);
}
END_TEST

/* ---- children that exec --------------------------------------------------- */

#define MANY 20000u

START_TEST(a_child_that_only_execs_touches_little)
{
	tide_pool *pool = NEW_POOL("many", 64);
	void **objs = calloc(MANY, sizeof(*objs));
	struct rusage before, after;
	pid_t pid;

	ck_assert_ptr_nonnull(objs);
	ck_assert_int_eq(tide_get_bulk(pool, objs, MANY), 0);
	tide_put_bulk(pool, objs, MANY);
	pid = fork_child();
	if (pid == 0) {
		/* Since the fork: the words of these objects alone are 40 pages. */
		getrusage(RUSAGE_SELF, &before);
		if (!SANITIZED)
			CHILD_CHECK(before.ru_minflt < 40);
		check_child_pool(pool, 0, MANY);
		getrusage(RUSAGE_SELF, &after);
		CHILD_CHECK(after.ru_minflt >= before.ru_minflt);
		_exit(0);
	}
	wait_for(pid);
	free(objs);
	end_pool(pool);
}
END_TEST

static void *
get_and_put(void *arg)
{
	tide_pool *pool = arg;
	void *objs[200];

	while (!atomic_load(&over)) {
		if (tide_get_bulk(pool, objs, LENGTH(objs)) != 0)
			abort();
		tide_put_bulk(pool, objs, LENGTH(objs));
	}
	tide_thread_flush();
	return NULL;
}

extern char **environ;

/* Apart, for what the child changes of this function's frame. */
static __attribute__((noinline)) pid_t
vfork_true(char *const *argv)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execve("/bin/true", argv, environ);
		_exit(1);
	}
	return pid;
}

START_TEST(a_program_with_threads_starts_others_in_every_way)
{
	char *const argv[] = { (char *)(uintptr_t) "true", NULL };
	tide_pool *pool = NEW_POOL("starting", 64);
	pthread_t thread[3];
	pid_t pid;

	alarm(HANG_SECONDS);
	for (unsigned i = 0; i < LENGTH(thread); i++)
		thread[i] = start(get_and_put, pool);
	for (long i = 0; i < ROUNDS(30); i++) {
		FILE *pipe;

		pid = fork_child();
		if (pid == 0) {
			execve("/bin/true", argv, environ);
			_exit(1);
		}
		wait_for(pid);
		ck_assert_int_eq(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ), 0);
		wait_for(pid);
		if (!THREAD_SANITIZED)
			wait_for(vfork_true(argv));
		ck_assert_int_eq(system("true"), 0);
		pipe = popen("true", "r");
		ck_assert_ptr_nonnull(pipe);
		ck_assert_int_eq(pclose(pipe), 0);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < LENGTH(thread); i++)
		pthread_join(thread[i], NULL);
	end_pool(pool);
}
END_TEST

/* ---- signal handlers ------------------------------------------------------ */

#define HANDLER_THREADS 3u

static _Atomic unsigned handled, bad_children;

/* POSIX once had fork among what a handler may call; the child execs, and no more. */
static void
fork_and_exec(int number)
{
	int saved = errno;
	int status;
	pid_t pid = fork();

	(void)number;
	if (pid == 0) {
		alarm(HANG_SECONDS);
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		atomic_fetch_add(&bad_children, 1);
	atomic_fetch_add(&handled, 1);
	errno = saved;
}

static void *
be_interrupted(void *arg)
{
	tide_pool *pool = arg;
	void *objs[200];
	struct tide_stats stats;

	while (!atomic_load(&over)) {
		if (tide_get_bulk(pool, objs, LENGTH(objs)) != 0)
			abort();
		tide_put_bulk(pool, objs, LENGTH(objs));
		tide_thread_flush();
		tide_stats_read(&stats, sizeof(stats));
		tide_set_misuse_handler(NULL, NULL);
	}
	return NULL;
}

START_TEST(a_signal_handler_that_forks_and_execs_hangs_nobody)
{
	struct sigaction action = { .sa_handler = fork_and_exec };
	tide_pool *pool = NEW_POOL("interrupted", 64);
	pthread_t thread[HANDLER_THREADS];
	unsigned sent = 0;

	alarm(HANG_SECONDS);
	sigemptyset(&action.sa_mask);
	ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
	for (unsigned i = 0; i < HANDLER_THREADS; i++)
		thread[i] = start(be_interrupted, pool);
	for (long i = 0; i < ROUNDS(200); i++) {
		for (unsigned j = 0; j < HANDLER_THREADS; j++)
			sent += pthread_kill(thread[j], SIGUSR1) == 0;
		/* Signals of one kind do not queue up. */
		usleep(500);
	}
	atomic_store(&over, true);
	for (unsigned i = 0; i < HANDLER_THREADS; i++)
		pthread_join(thread[i], NULL);
	ck_assert_uint_gt(atomic_load(&handled), sent / 100);
	ck_assert_uint_eq(atomic_load(&bad_children), 0);
	end_pool(pool);
}
END_TEST

/* ---- main ----------------------------------------------------------------- */

int
main(void)
{
	const TTest *const tests[] = {
		a_fork_during_the_first_call_of_another_thread,
		a_fork_before_the_first_call_does_not_make_gates_slow,
		a_program_that_takes_its_own_locks_for_a_fork_does_not_hang,
		a_child_that_only_execs_touches_little,
		a_program_with_threads_starts_others_in_every_way,
		a_signal_handler_that_forks_and_execs_hangs_nobody,
	};

	return run_tests("fork_anywhere", tests, LENGTH(tests));
}
