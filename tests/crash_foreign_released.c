/* SPDX-License-Identifier: MIT */
/* crash_foreign_released.c - an object of a pool that was destroyed is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_pool *gone = crash_pool("gone", 5000);
	void *obj = crash_get(gone);

	tide_put(gone, obj);
	if (tide_pool_destroy(gone) != 0)
		return 3;
	tide_put(pool, obj);
	return 0; /* it was not caught */
}
