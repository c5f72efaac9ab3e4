/* SPDX-License-Identifier: MIT */
/* crash_foreign_malloc.c - a block from malloc is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *obj = malloc(100);

	tide_put(pool, obj);
	free(obj);
	return 0; /* it was not caught */
}
