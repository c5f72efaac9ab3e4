/* SPDX-License-Identifier: MIT */
/* crash_wrong_pool_unpin.c - an object of one pool is unpinned in another. */
#include "crash.h"

int
main(void)
{
	tide_pool *pool = crash_pool("crash", 100);
	tide_pool *other = crash_pool("other", 100);
	tide_ref ref;
	void *obj = tide_get_ref(other, &ref);

	if (tide_pin(other, ref) != obj)
		return 3;
	tide_unpin(pool, obj);
	return 0; /* it was not caught */
}
