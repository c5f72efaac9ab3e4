/* SPDX-License-Identifier: MIT */
/* crash_dirty_reset.c - more bytes are written than the put says, and resets are verified. */
#include "crash.h"

int
main(void)
{
	setenv("TIDEDEBUG", "verifyreset=1", 1);
	tide_pool *pool = crash_pool("crash", 100);
	char *obj = crash_get(pool);

	obj[99] = 1;
	tide_put_used(pool, obj, 10);
	return 0; /* it was not caught */
}
