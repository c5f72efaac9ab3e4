/* SPDX-License-Identifier: MIT */
/* crash_double_put_discard.c - an object is discarded, then put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *obj = crash_get(pool);

	tide_discard(pool, obj);
	tide_put(pool, obj);
	return 0; /* it was not caught */
}
