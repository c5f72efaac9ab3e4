/* SPDX-License-Identifier: MIT */
/*
 * oom_check.c - out of memory anywhere in a suite: stands in for libcheck, and runs
 * each test of the suite it is linked with over and over, every time with another
 * asking for memory refused: an allocation, a mapping, a call of hwloc (the seam
 * in numa/fault.h). Each run is a process of its own.
 *
 * A call that says ENOMEM is made again (oom_again.h), so a test comes to its end
 * and all that it asserts must hold. Then tide_check() must find nothing, a new pool
 * must work, and no more records, reserved bytes or file descriptors may be left
 * than without the refusal.
 *
 * What the library does without (an object let go because there was no memory for a
 * magazine) shows in counters. Tests that count so closely are named here, and may
 * end in an assertion if tide_check() finds nothing then. How often is printed.
 *
 * A test's refusals are spread over its askings, as many as take half a second.
 * TIDE_OOM_RUNS=N: so many; 0: every one.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "numa/fault.h"
#define OOM_AGAIN_IS_DEFINED_HERE 1
#include "oom_again.h"
#include "oom_out.h"

#define RUNS_MAX      40 /* of one test, and fewer if they take long: */
#define RUNS_MIN      5
#define TEST_US_MAX   500000 /* of the processor's time for one test's runs, about */
#define TRIES         5      /* a leak shows every time, a thread that was slower does not */
#define TESTS_MAX     100
#define SECONDS_MAX   120
#define TEXT_BYTES    600
#define NOT_REACHED   (INT64_MAX / 2) /* counts, and refuses nothing */
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* How a run ended; its exit status. */
enum end { END_WELL, END_COUNTS = 10, END_BADLY = 11 };

struct outcome {
	bool was_refused;
	uint64_t askings;
	int64_t records;
	int64_t reserved_bytes;
	unsigned fds;
	char text[TEXT_BYTES]; /* why it ended, if not well */
};

static struct outcome *outcome; /* shared with the process of the run */

static const char *const counting_tests[] = {
	"objects_of_64_kib_and_more_have_no_thread_cache", /* one put may need a magazine */
};
static const char *running;

/* ---- in the process of a run ------------------------------------------------- */

static bool
is_refused(void)
{
	return atomic_load(&tidep_numa_fault_in) < 0;
}

static _Noreturn void
end_badly(const char *what)
{
	snprintf(outcome->text, sizeof(outcome->text), "%s", what);
	_exit(END_BADLY);
}

/* Was memory refused in the midst of this call, and is that what it says? */
static bool
is_again(bool was_refused, bool failed, int err)
{
	return failed && err == ENOMEM && !was_refused && is_refused();
}

#define AGAIN(type, call, failed, err)                                                             \
	bool was_refused = is_refused();                                                           \
	type result = call;                                                                        \
	return is_again(was_refused, failed, err) ? call : result

int
again_init(void)
{
	AGAIN(int, tide_init(), result < 0, -result);
}

tide_pool *
again_pool_create(const struct tide_pool_config *config)
{
	AGAIN(tide_pool *, tide_pool_create(config), result == NULL, errno);
}

void *
again_get(tide_pool *pool)
{
	AGAIN(void *, tide_get(pool), result == NULL, errno);
}

void *
again_get_on(tide_pool *pool, unsigned node)
{
	AGAIN(void *, tide_get_on(pool, node), result == NULL, errno);
}

void *
again_get_ref(tide_pool *pool, tide_ref *ref)
{
	AGAIN(void *, tide_get_ref(pool, ref), result == NULL, errno);
}

int
again_get_bulk(tide_pool *pool, void **objs, size_t n)
{
	AGAIN(int, tide_get_bulk(pool, objs, n), result < 0, -result);
}

int
again_pool_reserve(tide_pool *pool, size_t n)
{
	AGAIN(int, tide_pool_reserve(pool, n), result < 0, -result);
}

int
again_stats_format(char *dst, size_t dst_bytes, uint32_t format)
{
	AGAIN(int, tide_stats_format(dst, dst_bytes, format), result < 0, -result);
}

int
again_stats_print(int fd, uint32_t format)
{
	AGAIN(int, tide_stats_print(fd, format), result < 0, -result);
}

int
again_check(void)
{
	AGAIN(int, tide_check(), result < 0, -result);
}

/* The pool works afterwards: nothing is refused any more, so nothing may fail. */
static void
use_new_pool(void)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "afterwards",
		.object_bytes = 100,
		.reset = tide_reset_zero,
	});
	void *objs[100];

	if (pool == NULL || tide_get_bulk(pool, objs, LENGTH(objs)) != 0)
		end_badly("afterwards: a pool cannot be used");
	tide_put_bulk(pool, objs, LENGTH(objs));
	if (tide_check() != 0)
		end_badly("afterwards: tide_check() finds something");
	if (tide_pool_destroy(pool) != 0)
		end_badly("afterwards: a pool cannot be destroyed");
}

void
_mark_point(const char *file, int line)
{
	(void)file;
	(void)line;
}

/* May the test that runs end in an assertion? */
static bool
may_count(void)
{
	for (size_t i = 0; i < LENGTH(counting_tests); i++)
		if (strcmp(running, counting_tests[i]) == 0)
			return is_refused() && tide_check() == 0;
	return false;
}

void
_ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
	char said[TEXT_BYTES / 2] = "";
	va_list args;

	if (msg != NULL) {
		va_start(args, msg);
		vsnprintf(said, sizeof(said), msg, args);
		va_end(args);
	}
	snprintf(outcome->text, sizeof(outcome->text), "%s:%d: %s %s", file, line, expr, said);
	outcome->was_refused = is_refused();
	_exit(may_count() ? END_COUNTS : END_BADLY);
}

static _Noreturn void
run_test(const TTest *test, int64_t n)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	alarm(SECONDS_MAX);
	running = test->name;
	atomic_store(&tidep_numa_fault_in, n);
	test->fn(0);
	outcome->was_refused = is_refused();
	outcome->askings = atomic_load(&tidep_numa_fault_asked);
	atomic_store(&tidep_numa_fault_in, 0);
	use_new_pool();
	outcome->records = records;
	outcome->reserved_bytes = reserved_bytes;
	outcome->fds = count_fds();
	_exit(END_WELL);
}

/* ---- in the process of the suite --------------------------------------------- */

struct Suite {
	const char *name;
};
struct TCase {
	const TTest *tests[TESTS_MAX];
	size_t n;
};
struct SRunner {
	const char *name;
	int failed;
};

static struct Suite only_suite;
static struct TCase only_tcase;
static struct SRunner only_runner;
static unsigned long runs, refused, counted;

/* What the runs of a test write to stderr; shown if one ends badly. */
static FILE *said;

static void
show_badly(const TTest *test, int64_t n, int status)
{
	char line[300];

	only_runner.failed++;
	printf("%s, N = %lld: ", test->name, (long long)n);
	if (WIFSIGNALED(status))
		printf("signal %d; ", WTERMSIG(status));
	printf("%s\n", outcome->text);
	rewind(said);
	while (fgets(line, sizeof(line), said) != NULL)
		printf("    %s", line);
}

/* Runs a test with its Nth asking refused. false: it ended badly, which is shown. */
static bool
run(const TTest *test, int64_t n, int *status)
{
	pid_t child;

	memset(outcome, 0, sizeof(*outcome));
	rewind(said);
	if (ftruncate(fileno(said), 0) != 0)
		abort();
	fflush(stdout);
	runs++;
	child = fork();
	if (child == 0) {
		dup2(fileno(said), STDERR_FILENO);
		run_test(test, n);
	}
	if (child < 0 || waitpid(child, status, 0) != child)
		abort();
	if (WIFEXITED(*status) &&
	    (WEXITSTATUS(*status) == END_WELL || WEXITSTATUS(*status) == END_COUNTS))
		return true;
	show_badly(test, n, *status);
	return false;
}

/* The time that the runs so far have taken. */
static int64_t
children_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec +
	       usage.ru_stime.tv_usec;
}

/* How many runs a test that took so long gets. */
static int64_t
runs_of(int64_t askings, int64_t us)
{
	const char *value = getenv("TIDE_OOM_RUNS");
	int64_t n = TEST_US_MAX / (us + 1);

	if (value != NULL)
		n = strtoll(value, NULL, 10) == 0 ? INT64_MAX : strtoll(value, NULL, 10);
	else
		n = n > RUNS_MAX ? RUNS_MAX : n < RUNS_MIN ? RUNS_MIN : n;
	return n < askings ? n : askings;
}

/* Is more left than without the refusal? Said in the outcome. */
static bool
has_leaked(const struct outcome *without)
{
	char *text = outcome->text;

	if (outcome->records > without->records)
		snprintf(text, TEXT_BYTES, "%d records are left, %d without the refusal",
			 (int)outcome->records, (int)without->records);
	else if (outcome->reserved_bytes > without->reserved_bytes)
		snprintf(text, TEXT_BYTES, "more is reserved than without the refusal");
	else if (outcome->fds > without->fds)
		snprintf(text, TEXT_BYTES, "%u file descriptors, %u without the refusal",
			 outcome->fds, without->fds);
	else
		return false;
	return true;
}

static int64_t
max_of(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * Records that threads leave for the next ones depend on how many met. So it is
 * asked again, with the refusal and without.
 */
static void
expect_no_leak(const TTest *test, int64_t n, struct outcome *without)
{
	int status;

	for (int i = 0; i < TRIES && has_leaked(without); i++) {
		if (!run(test, NOT_REACHED, &status))
			return;
		without->records = max_of(without->records, outcome->records);
		without->fds = (unsigned)max_of(without->fds, outcome->fds);
		without->reserved_bytes = max_of(without->reserved_bytes, outcome->reserved_bytes);
		if (!run(test, n, &status) || WEXITSTATUS(status) != END_WELL)
			return;
	}
	if (has_leaked(without))
		show_badly(test, n, 0);
}

static void
refuse_each(const TTest *test)
{
	struct outcome without;
	unsigned long shown = 0;
	int64_t askings, max, n, us;
	int status;

	us = children_us();
	if (!run(test, NOT_REACHED, &status))
		return;
	us = children_us() - us;
	without = *outcome;
	askings = (int64_t)without.askings;
	max = runs_of(askings, us);
	for (int64_t i = 0; i < max; i++) {
		n = 1 + i * askings / max;
		if (!run(test, n, &status))
			continue;
		refused += outcome->was_refused;
		if (WEXITSTATUS(status) == END_WELL) {
			expect_no_leak(test, n, &without);
			continue;
		}
		if (shown++ == 0)
			printf("%s, N = %lld: %s\n", test->name, (long long)n, outcome->text);
		counted++;
	}
}

Suite *
suite_create(const char *name)
{
	only_suite.name = name;
	return &only_suite;
}

TCase *
tcase_create(const char *name)
{
	(void)name;
	return &only_tcase;
}

void
tcase_set_timeout(TCase *tcase, double seconds)
{
	(void)tcase;
	(void)seconds;
}

void
suite_add_tcase(Suite *suite, TCase *tcase)
{
	(void)suite;
	(void)tcase;
}

void
_tcase_add_test(TCase *tcase, const TTest *test, int signal, int status, int start, int end)
{
	if (tcase->n == TESTS_MAX || signal != 0 || status != 0 || start != 0 || end != 1)
		abort();
	tcase->tests[tcase->n++] = test;
}

SRunner *
srunner_create(Suite *suite)
{
	only_runner.name = suite->name;
	return &only_runner;
}

void
srunner_run_all(SRunner *runner, enum print_output how)
{
	cpu_set_t one;

	(void)how;
	/* On one node, so that runs are alike. */
	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	said = tmpfile();
	if (outcome == MAP_FAILED || said == NULL)
		abort();
	for (size_t i = 0; i < only_tcase.n; i++)
		refuse_each(only_tcase.tests[i]);
	printf("%s: %zu tests, %lu runs, %lu with a refusal, %lu counted otherwise, %d ended "
	       "badly\n",
	       runner->name, only_tcase.n, runs, refused, counted, runner->failed);
}

int
srunner_ntests_failed(SRunner *runner)
{
	return runner->failed;
}

void
srunner_free(SRunner *runner)
{
	(void)runner;
	fclose(said);
}
