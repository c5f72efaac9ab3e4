/* SPDX-License-Identifier: MIT */
/*
 * What the suites of the rooms share: how one is run, what a program may ask
 * the kernel about an address, and how loops shrink under a sanitizer. Each
 * test runs in a process of its own (Check forks), so each starts with a room
 * that nobody has used.
 */
#ifndef TESTS_ROOMS_H
#define TESTS_ROOMS_H

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sanitized.h"

/*
 * So many rounds, a tenth of them where each costs ten times as much: in an
 * emulator too, which has to say so.
 */
#define ROUNDS(n) (SANITIZED || getenv("TIDE_SLOW") != NULL ? (n) / 10 : (n))

/*
 * For loops: ck_assert() writes a line to a file each time it holds, which takes
 * a system call.
 */
#define REQUIRE(condition) REQUIRE_MSG(condition, "%s", #condition)
#define REQUIRE_MSG(condition, ...)                                                                \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg(__VA_ARGS__);                                                 \
	} while (0)

#define TEST_SECONDS_MAX 120 /* a hang, not a slow machine */

/* Runs one case of the tests, NULL at the end; main's result. */
static inline int
run_suite(const char *name, const TTest *const *tests)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, TEST_SECONDS_MAX);
	for (; *tests != NULL; tests++)
		tcase_add_test(tcase, *tests);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Can the kernel read a byte there? Asks without touching it. */
static inline bool
is_readable(const void *addr)
{
	int fd[2];
	bool can;

	ck_assert_int_eq(pipe(fd), 0);
	can = write(fd[1], addr, 1) == 1;
	close(fd[0]);
	close(fd[1]);
	return can;
}

/* Can the kernel write there? The byte keeps its value. */
static inline bool
is_writable(void *addr)
{
	int fd[2];
	bool can;

	ck_assert_int_eq(pipe(fd), 0);
	can = write(fd[1], addr, 1) == 1 && read(fd[0], addr, 1) == 1;
	close(fd[0]);
	close(fd[1]);
	return can;
}

/* How many of the pages are in memory. */
static inline size_t
count_resident(void *addr, size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t pages = bytes / page;
	unsigned char *in = malloc(pages);
	size_t resident = 0;

	ck_assert_ptr_nonnull(in);
	ck_assert_int_eq(mincore(addr, bytes, in), 0);
	for (size_t i = 0; i < pages; i++)
		resident += in[i] & 1;
	free(in);
	return resident;
}

static inline bool
is_zero(const void *addr, size_t bytes)
{
	const unsigned char *at = addr;

	for (size_t i = 0; i < bytes; i++)
		if (at[i] != 0)
			return false;
	return true;
}

/* This process's addresses in bytes, as RLIMIT_AS counts them. */
static inline size_t
address_bytes(void)
{
	char text[64] = "";
	int fd = open("/proc/self/statm", O_RDONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	close(fd);
	return strtoul(text, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

/* Standard error goes to a file from begin to end, which returns what is in it. */
static inline int
capture_begin(FILE **file)
{
	int saved = dup(STDERR_FILENO);

	*file = tmpfile();
	ck_assert_ptr_nonnull(*file);
	ck_assert_int_ge(saved, 0);
	ck_assert_int_ge(dup2(fileno(*file), STDERR_FILENO), 0);
	return saved;
}

static inline void
capture_end(FILE *file, int saved, char *text, size_t text_bytes)
{
	size_t length;

	fflush(stderr);
	ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
	close(saved);
	rewind(file);
	length = fread(text, 1, text_bytes - 1, file);
	text[length] = '\0';
	fclose(file);
}

/* A small generator for shuffling; the same sequence for the same seed. */
static inline uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
