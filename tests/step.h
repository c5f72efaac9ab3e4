/* SPDX-License-Identifier: MIT */
/*
 * step.h - the processor's trap flag: while it is set SIGTRAP comes after each single
 * instruction, so that a handler runs at every point of a call. On x86-64; TSan hands
 * a signal over when it likes.
 */
#ifndef TESTS_STEP_H
#define TESTS_STEP_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* REG_EFL */
#endif
#include <signal.h>
#include <ucontext.h>

#include "sanitized.h"

#if defined(__x86_64__) && !THREAD_SANITIZED
#define CAN_STEP 1

/* Past the red zone: a leaf function may keep its locals below the stack pointer. */
static inline void
set_trap_flag(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static inline void
clear_trap_flag(void)
{
	__asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandq $-257, (%%rsp)\n\tpopfq\n\t"
			 "lea 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

/* From the handler, which got the context: what it has interrupted goes on at full speed. */
static inline void
stop_stepping(void *context)
{
	ucontext_t *interrupted = context;

	interrupted->uc_mcontext.gregs[REG_EFL] &= ~0x100LL;
}
#else
#define CAN_STEP 0

static inline void
set_trap_flag(void)
{
}

static inline void
clear_trap_flag(void)
{
}

static inline void
stop_stepping(void *context)
{
	(void)context;
}
#endif

#endif
