/* SPDX-License-Identifier: MIT */
/* crash_overflow.c - more bytes are used than an object has. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);

	tide_put_used(pool, crash_get(pool), 101);
	return 0; /* it was not caught */
}
