/* SPDX-License-Identifier: MIT */
/* crash_bad_unpin_foreign.c - what is no object is unpinned. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);

	tide_unpin(pool, &pool);
	return 0; /* it was not caught */
}
