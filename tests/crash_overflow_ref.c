/* SPDX-License-Identifier: MIT */
/* crash_overflow_ref.c - more bytes are used than an object has, by ref. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_ref ref;

	if (tide_get_ref(pool, &ref) == NULL)
		return 3;
	tide_put_ref_used(pool, ref, 101);
	return 0; /* it was not caught */
}
