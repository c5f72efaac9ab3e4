/* SPDX-License-Identifier: MIT */
/*
 * fork_stress: the hooks. They take a while, call tidepool, fail now and then, and fork
 * where their thread is told to.
 */
#include "config.h"

#include <errno.h>

#include "fork_stress.h"

/* A while, in tidepool too: a get and a put of another pool, statistics, a fork. */
static void
linger(void)
{
	struct tide_pool_stats stats;

	if (in_hook)
		return;
	in_hook = true;
	switch (stress_below(&random_state, 6)) {
	case 0:
		usleep(stress_below(&random_state, 300));
		break;
	case 1:
		tide_put(pools[PLAIN], tide_get(pools[PLAIN]));
		break;
	case 2:
		tide_put(pools[HOOKED], tide_get(pools[HOOKED]));
		break;
	case 3:
		tide_pool_stats_read(pools[HOOKED], &stats, sizeof(stats));
		break;
	default:
		break;
	}
	if (forks_in_hook) {
		forks_in_hook = false;
		fork_once(1);
	}
	in_hook = false;
}

int
init_hook(void *obj, void *ctx)
{
	struct object *object = obj;

	(void)ctx;
	linger();
	STRESS_CHECK(object->mark == 0 && object->owner == 0, "not zero bytes: %#" PRIx64,
		     object->mark);
	if (stress_below(&random_state, 16) == 0) {
		object->owner = 1; /* what it leaves is nobody's */
		return -EIO;
	}
	object->mark = LIVE_MARK;
	atomic_fetch_add(&inits, 1);
	return 0;
}

int
reset_hook(void *obj, size_t used, void *ctx)
{
	struct object *object = obj;

	(void)used;
	(void)ctx;
	linger();
	STRESS_CHECK(object->mark == LIVE_MARK, "reset of no object: %#" PRIx64, object->mark);
	object->owner = 0;
	return stress_below(&random_state, 16) == 0;
}

void
fini_hook(void *obj, void *ctx)
{
	struct object *object = obj;

	(void)ctx;
	linger();
	STRESS_CHECK(object->mark == LIVE_MARK, "fini of no object: %#" PRIx64, object->mark);
	object->mark = 0;
	atomic_fetch_add(&finis, 1);
}

bool
verify_hook(const void *obj, void *ctx)
{
	const struct object *object = obj;

	(void)ctx;
	linger();
	return object->mark == LIVE_MARK && object->owner == 0;
}
