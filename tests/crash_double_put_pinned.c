/* SPDX-License-Identifier: MIT */
/* crash_double_put_pinned.c - an object is put twice while somebody has it pinned. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_ref ref;
	void *obj = tide_get_ref(pool, &ref);

	if (tide_pin(pool, ref) != obj)
		return 3;
	tide_put(pool, obj);
	tide_put(pool, obj);
	return 0; /* it was not caught */
}
