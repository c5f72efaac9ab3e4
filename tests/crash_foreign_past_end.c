/* SPDX-License-Identifier: MIT */
/* crash_foreign_past_end.c - the address where an object ends is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	char *obj = crash_get(pool);

	tide_put(pool, obj + 100);
	return 0; /* it was not caught */
}
