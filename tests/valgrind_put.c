/* SPDX-License-Identifier: MIT */
/*
 * valgrind_put.c - for valgrind_memcheck.sh: touches an object in the way that its
 * argument names. Not a test by itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tide.h>

#define BYTES 100

static int
make(void *obj, void *ctx)
{
	(void)ctx;
	*(void **)obj = malloc(10);
	return *(void **)obj == NULL ? -1 : 0;
}

static int
reset(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset((char *)obj + sizeof(void *), 0, used - sizeof(void *));
	return 0;
}

static void
undo(void *obj, void *ctx)
{
	(void)ctx;
	free(*(void **)obj);
}

static tide_pool *
new_pool(const char *name, size_t bytes, bool has_hooks)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = name,
		.object_bytes = bytes,
		.init = has_hooks ? make : NULL,
		.reset = has_hooks ? reset : tide_reset_zero,
		.fini = has_hooks ? undo : NULL,
	});

	if (pool == NULL)
		exit(3);
	return pool;
}

/* Named in the report as the place of the put. */
__attribute__((noinline)) static void
give_back(tide_pool *pool, void *obj)
{
	tide_put(pool, obj);
	__asm__ volatile(""); /* no tail call */
}

/* All that may be done with objects, and all ways in which they go and come. */
static void
use_well(tide_pool *pool)
{
	size_t bytes = tide_pool_object_bytes(pool);
	void *objs[100];
	tide_ref ref;
	void *obj;

	for (int round = 0; round < 3; round++) {
		if (tide_get_bulk(pool, objs, 100) != 0)
			exit(3);
		for (int i = 0; i < 100; i++) {
			memset((char *)objs[i] + 8, i, bytes - 8);
			if (i % 9 == 0)
				tide_discard(pool, objs[i]);
			else if (i % 9 == 1)
				tide_put_ref(pool, tide_ref_of(pool, objs[i]));
			else
				tide_put(pool, objs[i]);
		}
		obj = tide_get_ref(pool, &ref);
		tide_pin(pool, ref);
		tide_put(pool, obj);
		memset((char *)obj + 8, 1, bytes - 8);
		tide_unpin(pool, obj);
		tide_thread_flush();
	}
	if (tide_check() != 0 || tide_pool_destroy(pool) != 0)
		exit(3);
}

int
main(int argc, char **argv)
{
	const char *way = argc > 1 ? argv[1] : "well";
	tide_pool *pool = new_pool("x", BYTES, false);
	volatile char *obj = tide_get(pool);
	int result = 0;

	if (strcmp(way, "behind") == 0)
		obj[BYTES] = 1;
	give_back(pool, (void *)(uintptr_t)obj);
	if (strcmp(way, "write") == 0)
		obj[10] = 1;
	else if (strcmp(way, "read") == 0)
		result = obj[10];
	else if (strcmp(way, "neighbour") == 0)
		result = obj[112];
	tide_pool_destroy(pool);
	use_well(new_pool("small", 20, true));
	use_well(new_pool("hooks", 1000, true));
	use_well(new_pool("plain", 300, false));
	use_well(new_pool("uncached", 70000, true));
	return result;
}
