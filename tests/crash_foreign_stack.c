/* SPDX-License-Identifier: MIT */
/* crash_foreign_stack.c - an array on the stack is put. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	char obj[100] = "";

	tide_put(pool, obj);
	return 0; /* it was not caught */
}
