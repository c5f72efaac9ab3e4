/* SPDX-License-Identifier: MIT */
/* crash_foreign_kernel.c - an address of the kernel is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);

	tide_put(pool, (void *)0xffffffff81000000);
	return 0; /* it was not caught */
}
