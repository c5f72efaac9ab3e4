/* SPDX-License-Identifier: MIT */
/*
 * crash_reentered.c - a signal handler gets an object, and sooner or later it
 * interrupts a get or a put.
 */
#include <signal.h>
#include <sys/time.h>

#include "crash.h"

static tide_pool *pool;

static void
get(int number)
{
	(void)number;
	tide_get(pool); /* what works is nobody's loss: it is refused soon */
}

int
main(void)
{
	const struct itimerval often = { { 0, 100 }, { 0, 100 } };
	struct sigaction action = { .sa_handler = get };

	pool = crash_pool("crash", 100);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned long i = 0; i < 1000000000; i++)
		tide_put(pool, tide_get(pool));
	return 0; /* it was not caught */
}
