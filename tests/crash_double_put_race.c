/* SPDX-License-Identifier: MIT */
/* crash_double_put_race.c - two threads put one object at once. */
#include <pthread.h>

#include "crash.h"

static tide_pool *pool;
static pthread_barrier_t barrier;

static void *
put(void *obj)
{
	pthread_barrier_wait(&barrier);
	tide_put(pool, obj);
	return NULL;
}

int
main(void)
{
	pthread_t threads[2];
	void *obj;

	pool = crash_pool("crash", 100);
	obj = crash_get(pool);
	pthread_barrier_init(&barrier, NULL, 2);
	for (int i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, put, obj) != 0)
			return 3;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0; /* it was not caught */
}
