/* SPDX-License-Identifier: MIT */
/*
 * Retirement, through the public calls: in a debug build, where a slot has few
 * generations, threads that do nothing else but get and put use up slab after
 * slab. What they leave behind is at most a slab each, and every ref stays stale.
 */
#include "config.h"

#include <pthread.h>

#include "arena/slab.h"
#include "pool/tide.h"
#include "rooms.h"

#define SLABS   4 /* used up by each thread, or more */
#define THREADS 2
#define REFS    1000 /* old ones asked about at a time */

static tide_pool *pool;
static struct tidep_geometry geometry;

static void
start(size_t bytes)
{
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "retire",
		.object_bytes = bytes,
		.align_bytes = 16,
		.reset = tide_reset_zero,
	};

	setenv("TIDENUMA", "off", 1);
	pool = tide_pool_create(&config);
	ck_assert_ptr_nonnull(pool);
	tidep_arena_geometry(&geometry, bytes, 16);
}

static uint64_t
lives_of_slabs(unsigned slabs)
{
	return (uint64_t)slabs * geometry.slots * (geometry.end_life >> geometry.index_bits);
}

static void *
use_up(void *arg)
{
	/* Of one thread's refs in a row, some are remembered for long. */
	tide_ref old[REFS] = { 0 };
	uint64_t lives = lives_of_slabs(SLABS);

	(void)arg;
	for (uint64_t i = 0; i < lives; i++) {
		tide_ref ref;
		char *obj = tide_get_ref(pool, &ref);

		REQUIRE(obj != NULL && *obj == 0);
		*obj = 1;
		REQUIRE(tide_put_ref(pool, ref) == 0);
		if (i % 1009 == 0) {
			for (unsigned r = 0; r < REFS; r++)
				REQUIRE(old[r] != ref && !tide_ref_is_live(pool, old[r]));
			old[i / 1009 % REFS] = ref;
		}
	}
	return NULL;
}

/* Memory for slots is held for little more than a slab a thread. */
static void
check_committed(unsigned threads)
{
	uint64_t slab_bytes = geometry.granules * TIDEP_GRANULE_BYTES;
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool, &stats, sizeof(stats));
	ck_assert_uint_eq(stats.live_objects, 0);
	ck_assert_uint_eq(stats.created, stats.released + stats.idle_objects);
	ck_assert_uint_ge(stats.released, (uint64_t)SLABS * geometry.slots * threads);
	ck_assert_msg(stats.committed_bytes <= (threads + 1) * slab_bytes,
		      "%llu bytes are committed after %llu slots retired",
		      (unsigned long long)stats.committed_bytes,
		      (unsigned long long)stats.released);
	ck_assert_int_eq(tide_check(), 0);
}

static void
run(size_t bytes, unsigned threads)
{
	pthread_t thread[THREADS];

	start(bytes);
	for (unsigned i = 0; i < threads; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, use_up, NULL), 0);
	for (unsigned i = 0; i < threads; i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
	check_committed(threads);
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
}

START_TEST(a_thread_strands_a_slab_at_most)
{
	run(512, 1);
}
END_TEST

START_TEST(of_larger_objects_too)
{
	run(70000, 1);
}
END_TEST

START_TEST(two_threads_strand_two)
{
	run(512, THREADS);
}
END_TEST

int
main(void)
{
#ifdef TIDEP_DEBUG
	return run_suite("white_retire", (const TTest *const[]){
						 a_thread_strands_a_slab_at_most,
						 of_larger_objects_too,
						 two_threads_strand_two,
						 NULL,
					 });
#else
	(void)a_thread_strands_a_slab_at_most;
	(void)of_larger_objects_too;
	(void)two_threads_strand_two;
	puts("skipped: without --enable-debug a slot has too many generations");
	return 77;
#endif
}
