/* SPDX-License-Identifier: MIT */
/* crash_double_put_bulk.c - one object is in a bulk put twice. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *objs[3] = { crash_get(pool), crash_get(pool) };

	objs[2] = objs[0];
	tide_put_bulk(pool, objs, 3);
	return 0; /* it was not caught */
}
