/* SPDX-License-Identifier: MIT */
/* crash_double_put_after_ref.c - an object is put by ref, then by pointer. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_ref ref;
	void *obj = tide_get_ref(pool, &ref);

	if (tide_put_ref(pool, ref) != 0)
		return 3;
	tide_put(pool, obj);
	return 0; /* it was not caught */
}
