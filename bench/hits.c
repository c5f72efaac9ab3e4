/* SPDX-License-Identifier: MIT */
/*
 * hits: does each operation some hundred times in a way that hits, for
 * bench/callgrind.sh, which counts what happens inside the measure_* functions.
 * Each of them calls one function of the library only.
 */
#include <stdio.h>
#include <stdlib.h>
#include <tide.h>

#define ROUNDS 100
#define OBJS   8 /* of the two magazines a thread has at least; see set_up() */

#define MEASURE __attribute__((noinline))

static tide_pool *pool;
static void *objs[OBJS];
static tide_ref refs[OBJS];

static void
check(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "hits: %s failed\n", what);
	exit(1);
}

MEASURE static void
measure_get(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		objs[i] = tide_get(pool);
}

MEASURE static void
measure_put(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		tide_put(pool, objs[i]);
}

MEASURE static void
measure_put_used(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		tide_put_used(pool, objs[i], 16);
}

MEASURE static void
measure_get_ref(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		objs[i] = tide_get_ref(pool, &refs[i]);
}

MEASURE static void
measure_ref_of(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		check(tide_ref_of(pool, objs[i]) == refs[i], "tide_ref_of");
}

MEASURE static void
measure_ref_is_live(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		check(tide_ref_is_live(pool, refs[i]), "tide_ref_is_live");
}

MEASURE static void
measure_pin(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		check(tide_pin(pool, refs[i]) == objs[i], "tide_pin");
}

MEASURE static void
measure_unpin(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		tide_unpin(pool, objs[i]);
}

MEASURE static void
measure_put_ref(void)
{
	for (unsigned i = 0; i < OBJS; i++)
		check(tide_put_ref(pool, refs[i]) == 0, "tide_put_ref");
}

static void
set_up(void)
{
	struct tide_pool_stats stats;

	pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "hits",
		.object_bytes = 64,
		.reset = tide_reset_zero,
	});
	check(pool != NULL, "tide_pool_create");
	check(tide_get_bulk(pool, objs, OBJS) == 0, "tide_get_bulk");
	tide_put_bulk(pool, objs, OBJS);
	tide_pool_stats_read(pool, &stats, sizeof(stats));
	check(stats.magazine_objects >= OBJS, "a magazine of that size");
}

int
main(void)
{
	struct tide_pool_stats before, after;

	set_up();
	tide_pool_stats_read(pool, &before, sizeof(before));
	for (unsigned i = 0; i < ROUNDS; i++) {
		measure_get();
		measure_put();
		measure_get();
		measure_put_used();
		measure_get_ref();
		measure_ref_of();
		measure_ref_is_live();
		measure_pin();
		measure_unpin();
		measure_put_ref();
	}
	tide_pool_stats_read(pool, &after, sizeof(after));
	/* Or it is not hits that were counted. */
	check(after.hits - before.hits == after.gets - before.gets, "hitting");
	check(after.flushes == before.flushes, "hitting");
	return tide_pool_destroy(pool) != 0;
}
