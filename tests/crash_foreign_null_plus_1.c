/* SPDX-License-Identifier: MIT */
/* crash_foreign_null_plus_1.c - NULL + 1 is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);

	tide_put(pool, (void *)1);
	return 0; /* it was not caught */
}
