/* SPDX-License-Identifier: MIT */
/* fork_tsan.h - what ThreadSanitizer does not allow by default. */
#ifndef TESTS_FORK_TSAN_H
#define TESTS_FORK_TSAN_H

#include "sanitized.h"

#if THREAD_SANITIZED
/*
 * A child has none of the other threads to join. Threads of its own it may start only where
 * no name of theirs comes back: fork_stress, whose names do, starts none here.
 */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
	return "die_after_fork=0:report_thread_leaks=0";
}
#endif

#endif
