/* SPDX-License-Identifier: MIT */
/* crash_double_put_thread.c - an object is put by a thread that ends, then by another. */
#include <pthread.h>

#include "crash.h"

static tide_pool *pool;

static void *
put(void *obj)
{
	tide_put(pool, obj);
	return NULL;
}

int
main(void)
{
	pthread_t thread;
	void *obj;

	pool = crash_pool("crash", 100);
	obj = crash_get(pool);
	if (pthread_create(&thread, NULL, put, obj) != 0)
		return 3;
	pthread_join(thread, NULL);
	tide_put(pool, obj);
	return 0; /* it was not caught */
}
