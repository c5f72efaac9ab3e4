/* SPDX-License-Identifier: MIT */
/* crash_quarantine.c - a stale pointer is put within the quarantine, after other puts. */
#include "crash.h"

int
main(void)
{
	setenv("TIDEDEBUG", "quarantine=10", 1);
	tide_pool *pool = crash_pool("crash", 100);
	void *stale = crash_get(pool);

	tide_put(pool, stale);
	for (int i = 0; i < 9; i++)
		tide_put(pool, crash_get(pool));
	tide_put(pool, stale);
	return 0; /* it was not caught */
}
