/* SPDX-License-Identifier: MIT */
/* crash_foreign_discard.c - a block from malloc is discarded. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	void *obj = malloc(100);

	tide_discard(pool, obj);
	free(obj);
	return 0; /* it was not caught */
}
