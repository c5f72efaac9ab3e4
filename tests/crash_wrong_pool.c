/* SPDX-License-Identifier: MIT */
/* crash_wrong_pool.c - an object of one pool is put into another. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_pool *other = crash_pool("other", 100);

	tide_put(pool, crash_get(other));
	return 0; /* it was not caught */
}
