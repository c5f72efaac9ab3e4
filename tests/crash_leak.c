/* SPDX-License-Identifier: MIT */
/* crash_leak.c - a pool is destroyed while objects are live: reported, and never fatal. */
#include <errno.h>

#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *obj = crash_get(pool);

	if (tide_pool_destroy(pool) != -EBUSY)
		return 3;
	tide_put(pool, obj);
	return tide_pool_destroy(pool) == 0 ? 0 : 3;
}
