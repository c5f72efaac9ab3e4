/* SPDX-License-Identifier: MIT */
/* crash_foreign_interior.c - a pointer into an object is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	char *obj = crash_get(pool);

	tide_put(pool, obj + 8);
	return 0; /* it was not caught */
}
