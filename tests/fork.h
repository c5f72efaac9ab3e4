/* SPDX-License-Identifier: MIT */
/* fork.h - what the suites of fork share: children, and what they check. */
#ifndef TESTS_FORK_H
#define TESTS_FORK_H

#include "common.h"

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>

#include "fork_tsan.h"

#define HANG_SECONDS 60u /* a hang, not a slow machine */

/* In a child Check's macros would write into the parent's files: it says and dies. */
#define CHILD_CHECK(condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: in the child: %s\n", __FILE__, __LINE__,           \
				#condition);                                                       \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

static inline pid_t
fork_child(void)
{
	pid_t pid = fork();

	if (pid < 0)
		abort();
	if (pid == 0)
		alarm(HANG_SECONDS);
	return pid;
}

static inline void
wait_for(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x",
		      (unsigned)status);
}

static inline void
check_child_pool(const tide_pool *pool, uint64_t live, uint64_t idle)
{
	struct tide_pool_stats stats = stats_of(pool);

	CHILD_CHECK(tide_check() == 0);
	CHILD_CHECK(stats.live_objects == live);
	CHILD_CHECK(stats.idle_objects == idle);
	CHILD_CHECK(stats.live_objects + stats.idle_objects + stats.released == stats.created);
}

static inline void
ignore_report(const struct tide_misuse_report *report, void *arg)
{
	(void)report;
	++*(unsigned *)arg;
}

#endif
