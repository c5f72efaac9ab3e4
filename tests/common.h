/* SPDX-License-Identifier: MIT */
/*
 * common.h - what the black-box suites of the public header share: pools in one
 * line, a handler that keeps the last report, what was written to stderr, main.
 *
 * Each test runs in a process of its own (Check forks), which has not yet used
 * tidepool: a test may set TIDENUMA or TIDEDEBUG before its first call.
 */
#ifndef TESTS_COMMON_H
#define TESTS_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* memfd_create and pipe2 */
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <tide.h>

#include "sanitized.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define KIB           ((size_t)1024)
#define MIB           (KIB * 1024)

/* Fewer rounds where each costs ten times as much. */
#define ROUNDS(n) (SANITIZED ? (n) / 10 : (n))

/* A field named in the last arguments replaces the one that is set here. */
#pragma GCC diagnostic ignored "-Woverride-init"

/* After the name: the bytes of an object, then fields. */
#define CONFIG(name_, ...)                                                                         \
	(&(struct tide_pool_config){ .config_bytes = sizeof(struct tide_pool_config),              \
				     .name = (name_),                                              \
				     .reset = tide_reset_zero,                                     \
				     .object_bytes = __VA_ARGS__ })

/* A pool of zeroed objects, or of whatever else the last arguments say. */
#define NEW_POOL(...) new_pool(CONFIG(__VA_ARGS__))

static inline tide_pool *
new_pool(const struct tide_pool_config *config)
{
	tide_pool *pool = tide_pool_create(config);

	ck_assert_msg(pool != NULL, "create '%s': %s", config->name, strerror(errno));
	return pool;
}

static inline struct tide_pool_stats
stats_of(const tide_pool *pool)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool, &stats, sizeof(stats));
	return stats;
}

/* At a quiet point: the counters add up, and so does every slot. */
static inline void
check_pool(const tide_pool *pool)
{
	struct tide_pool_stats stats = stats_of(pool);

	ck_assert_uint_eq(stats.live_objects + stats.idle_objects + stats.released, stats.created);
	ck_assert_uint_eq(stats.live_objects, stats.gets - stats.puts - stats.discards);
	ck_assert_uint_eq(stats.live_bytes, stats.live_objects * tide_pool_object_bytes(pool));
	ck_assert_uint_eq(stats.idle_bytes, stats.idle_objects * tide_pool_object_bytes(pool));
	ck_assert_int_eq(tide_check(), 0);
}

/* The end of most tests: all is put, the pool adds up and goes. */
static inline void
end_pool(tide_pool *pool)
{
	check_pool(pool);
	ck_assert_uint_eq(stats_of(pool).live_objects, 0);
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
	ck_assert_int_eq(tide_check(), 0);
}

static inline bool
is_all(const void *bytes, size_t n, unsigned char value)
{
	const unsigned char *at = bytes;

	return n == 0 || (at[0] == value && memcmp(at, at + 1, n - 1) == 0);
}

/* ---- hooks that count ------------------------------------------------------ */

struct hook_calls {
	_Atomic unsigned inits, finis;
};

static inline int
count_init(void *obj, void *ctx)
{
	struct hook_calls *calls = ctx;

	(void)obj;
	calls->inits++;
	return 0;
}

static inline void
count_fini(void *obj, void *ctx)
{
	struct hook_calls *calls = ctx;

	(void)obj;
	calls->finis++;
}

/* ---- reports -------------------------------------------------------------- */

struct seen {
	_Atomic unsigned n;
	struct tide_misuse_report last;
	char pool[80];
	char text[600];
};

static inline void
see_report(const struct tide_misuse_report *report, void *arg)
{
	struct seen *seen = arg;

	seen->last = *report;
	snprintf(seen->pool, sizeof(seen->pool), "%s", report->pool);
	snprintf(seen->text, sizeof(seen->text), "%s", report->text);
	atomic_fetch_add(&seen->n, 1);
}

/* ---- standard error ------------------------------------------------------- */

struct capture {
	int stderr_before;
	int file;
	char text[4096];
};

static inline void
capture_start(struct capture *capture)
{
	fflush(stderr);
	capture->stderr_before = dup(2);
	capture->file = memfd_create("stderr", MFD_CLOEXEC);
	ck_assert_int_ge(capture->stderr_before, 0);
	ck_assert_int_ge(capture->file, 0);
	ck_assert_int_eq(dup2(capture->file, 2), 2);
}

/* What was written since; the text lives as long as *capture. */
static inline const char *
capture_end(struct capture *capture)
{
	ssize_t n;

	fflush(stderr);
	ck_assert_int_eq(dup2(capture->stderr_before, 2), 2);
	close(capture->stderr_before);
	n = pread(capture->file, capture->text, sizeof(capture->text) - 1, 0);
	ck_assert_int_ge(n, 0);
	capture->text[n] = '\0';
	close(capture->file);
	return capture->text;
}

static inline bool
is_one_line(const char *text)
{
	const char *end = strchr(text, '\n');

	return end != NULL && end != text && end[1] == '\0';
}

/* ---- threads -------------------------------------------------------------- */

static inline pthread_t
start(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
	return thread;
}

static inline void
run_thread(void *(*fn)(void *), void *arg)
{
	ck_assert_int_eq(pthread_join(start(fn, arg), NULL), 0);
}

static inline void
sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL);
}

/* ---- main ----------------------------------------------------------------- */

static inline int
run_tests(const char *name, const TTest *const *tests, size_t n)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 120);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

#endif
