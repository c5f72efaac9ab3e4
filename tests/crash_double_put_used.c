/* SPDX-License-Identifier: MIT */
/* crash_double_put_used.c - an object is put twice, the second time in part. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *obj = crash_get(pool);

	tide_put(pool, obj);
	tide_put_used(pool, obj, 1);
	return 0; /* it was not caught */
}
