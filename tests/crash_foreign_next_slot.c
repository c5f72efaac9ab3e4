/* SPDX-License-Identifier: MIT */
/* crash_foreign_next_slot.c - the address after an object is put, where there is none yet. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	char *obj = crash_get(pool);

	tide_put(pool, obj + 128); /* the slot that follows, of 100 bytes at 64 */
	return 0;                  /* it was not caught */
}
