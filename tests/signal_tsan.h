/* SPDX-License-Identifier: MIT */
/* signal_tsan.h - what ThreadSanitizer does not allow by default in a handler. */
#ifndef TESTS_SIGNAL_TSAN_H
#define TESTS_SIGNAL_TSAN_H

#include "sanitized.h"

#if THREAD_SANITIZED
/* A call that is served in a handler may allocate; no allocation is interrupted by it. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);

const char *
__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}
#endif

#endif
