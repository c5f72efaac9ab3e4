/* SPDX-License-Identifier: MIT */
/* crash_bad_unpin.c - an object is unpinned that nobody has pinned. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);

	tide_unpin(pool, crash_get(pool));
	return 0; /* it was not caught */
}
