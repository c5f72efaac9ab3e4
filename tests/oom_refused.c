/* SPDX-License-Identifier: MIT */
/*
 * oom_refused.c - while the machine refuses everything: no object is lost, and none is
 * let go for nothing. Where the question is asked, a test can have another thread do
 * something at just that point (--wrap of numa's answer).
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>

#include "numa/fault.h"
#include "pool/tide.h"
#include "rooms.h"

#define LARGE ((size_t)64 << 10) /* has no thread caches */

bool __wrap_tidep_numa_fault_slow(void);

static void (*_Atomic while_asked)(void); /* once */

bool
__wrap_tidep_numa_fault_slow(void)
{
	void (*fn)(void) = atomic_exchange(&while_asked, NULL);

	if (fn != NULL)
		fn();
	return true;
}

static void
refuse_all(bool refuses)
{
	atomic_store(&tidep_numa_fault_in, refuses ? -1 : 0);
}

static int finis;

static void
count_fini(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	finis++;
}

static tide_pool *
create(const char *name, size_t bytes, size_t max_bytes)
{
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = name,
		.object_bytes = bytes,
		.reset = tide_reset_zero,
		.fini = count_fini,
		.max_bytes = max_bytes,
	};
	tide_pool *pool = tide_pool_create(&config);

	ck_assert_ptr_nonnull(pool);
	return pool;
}

/* ---- a quarantine is emptied without memory ---------------------------------- */

static tide_pool *pool;
static void *theirs;
static sem_t goes, done;

static void *
put_when_told(void *arg)
{
	(void)arg;
	/* This thread is known to the library: its put asks for nothing. */
	theirs = tide_get(pool);
	sem_post(&done);
	sem_wait(&goes);
	tide_put(pool, theirs);
	sem_post(&done);
	return NULL;
}

static void
have_it_put(void)
{
	sem_post(&goes);
	sem_wait(&done);
}

START_TEST(a_put_while_a_quarantine_is_emptied_without_memory_loses_nothing)
{
	pthread_t thread;
	void *objs[2];

	setenv("TIDEDEBUG", "quarantine=1", 1);
	pool = create("quarantine", LARGE, 2 * LARGE);
	sem_init(&goes, 0, 0);
	sem_init(&done, 0, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, put_when_told, NULL), 0);
	sem_wait(&done);
	ck_assert_ptr_nonnull(theirs);
	objs[0] = tide_get(pool);
	ck_assert_ptr_nonnull(objs[0]);
	refuse_all(true);
	tide_put(pool, objs[0]); /* the quarantine is full */
	/* At the cap: it is taken out, no magazine is to be had, and meanwhile it is full again. */
	atomic_store(&while_asked, have_it_put);
	ck_assert_ptr_null(tide_get(pool));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert(atomic_load(&while_asked) == NULL);
	pthread_join(thread, NULL);
	refuse_all(false);
	ck_assert_int_eq(tide_check(), 0);
	for (int i = 0; i < 2; i++) {
		objs[i] = tide_get(pool);
		ck_assert_msg(objs[i] != NULL, "object %d is lost", i);
	}
	tide_put_bulk(pool, objs, 2);
	ck_assert_int_eq(tide_check(), 0);
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
	ck_assert_int_eq(finis, 2);
}
END_TEST

START_TEST(a_quarantine_that_is_emptied_without_memory_keeps_its_order)
{
	void *objs[6];

	setenv("TIDEDEBUG", "quarantine=3", 1);
	pool = create("quarantine", LARGE, 3 * LARGE);
	for (int i = 0; i < 3; i++)
		objs[i] = tide_get(pool);
	refuse_all(true);
	for (int i = 0; i < 3; i++)
		tide_put(pool, objs[i]);
	ck_assert_ptr_null(tide_get(pool));
	refuse_all(false);
	/* What comes out now does so oldest first, and is handed out newest first. */
	for (int i = 3; i < 6; i++) {
		objs[i] = tide_get(pool);
		ck_assert_ptr_eq(objs[i], objs[5 - i]);
	}
	tide_put_bulk(pool, objs + 3, 3);
	ck_assert_int_eq(tide_check(), 0);
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
}
END_TEST

/* ---- memory of one node ------------------------------------------------------- */

START_TEST(a_get_on_a_node_without_memory_lets_nothing_of_others_go)
{
	enum { OBJS = 8 };
	void *objs[OBJS];
	struct tide_pool_stats stats;

	setenv("TIDENUMA", "fake=2", 1);
	pool = create("nodes", (size_t)1 << 20, 0);
	for (int i = 0; i < OBJS; i++) {
		objs[i] = tide_get_on(pool, 0);
		ck_assert_ptr_nonnull(objs[i]);
	}
	tide_put_bulk(pool, objs, OBJS);
	refuse_all(true);
	errno = 0;
	ck_assert_ptr_null(tide_get_on(pool, 1));
	ck_assert_int_eq(errno, ENOMEM);
	refuse_all(false);
	ck_assert_int_eq(finis, 0);
	tide_pool_stats_read(pool, &stats, sizeof(stats));
	ck_assert_uint_eq(stats.idle_objects, OBJS);
	objs[0] = tide_get_on(pool, 1);
	ck_assert_ptr_nonnull(objs[0]);
	tide_put(pool, objs[0]);
	ck_assert_int_eq(tide_check(), 0);
	ck_assert_int_eq(tide_pool_destroy(pool), 0);
}
END_TEST

int
main(void)
{
	return run_suite("oom_refused",
			 (const TTest *const[]){
				 a_put_while_a_quarantine_is_emptied_without_memory_loses_nothing,
				 a_quarantine_that_is_emptied_without_memory_keeps_its_order,
				 a_get_on_a_node_without_memory_lets_nothing_of_others_go,
				 NULL,
			 });
}
