/* SPDX-License-Identifier: MIT */
/* refs_pin.c - a pin keeps an object as it is until the unpin, whatever its owner does. */
#include "common.h"

/* As tide.h says on tide_pin(): 2^20 - 1025. */
#define PINS_MAX ((1u << 20) - 1025)

struct counts {
	_Atomic unsigned inits, resets, finis;
	_Atomic size_t used;
	_Atomic(pthread_t) thread; /* that ran the last hook */
};

static int
note_init(void *obj, void *ctx)
{
	struct counts *counts = ctx;

	(void)obj;
	counts->inits++;
	return 0;
}

static int
note_reset(void *obj, size_t used, void *ctx)
{
	struct counts *counts = ctx;

	memset(obj, 0, used);
	counts->used = used;
	counts->thread = pthread_self();
	counts->resets++;
	return 0;
}

static void
note_fini(void *obj, void *ctx)
{
	struct counts *counts = ctx;

	(void)obj;
	counts->thread = pthread_self();
	counts->finis++;
}

#define COUNTED_POOL(counts, ...)                                                                  \
	NEW_POOL("pins", 300, .init = note_init, .reset = note_reset, .fini = note_fini,           \
		 .ctx = (counts), __VA_ARGS__)

static unsigned char *
get_pinned(tide_pool *pool, tide_ref *ref)
{
	unsigned char *obj = tide_get_ref(pool, ref);

	ck_assert_ptr_nonnull(obj);
	ck_assert(is_all(obj, tide_pool_object_bytes(pool), 0));
	ck_assert_ptr_eq(tide_pin(pool, *ref), obj);
	return obj;
}

START_TEST(a_pin_gives_the_owners_object)
{
	tide_pool *pool = NEW_POOL("pins", 64);
	tide_ref ref;
	char *obj = (char *)get_pinned(pool, &ref);

	strcpy(obj, "the owner's");
	tide_unpin(pool, obj);
	ck_assert(tide_ref_is_live(pool, ref));
	ck_assert_str_eq(obj, "the owner's");
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(a_pinned_object_outlives_the_put_of_its_owner)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	unsigned char *obj, *other;
	tide_ref ref;

	for (unsigned round = 0; round < 50; round++) {
		obj = get_pinned(pool, &ref);
		memset(obj, 0x5a, 300);
		tide_put(pool, obj);
		ck_assert(!tide_ref_is_live(pool, ref));
		ck_assert_ptr_null(tide_pin(pool, ref)); /* stale for everybody at once */
		ck_assert_int_eq(tide_put_ref(pool, ref), -ESTALE);
		ck_assert_uint_eq(tide_ref_of(pool, obj), 0);
		ck_assert_uint_eq(counts.resets, round);
		for (unsigned i = 0; i < 20; i++) {
			other = tide_get(pool);
			ck_assert_ptr_ne(other, obj);
			tide_discard(pool, other);
		}
		ck_assert(is_all(obj, 300, 0x5a));
		ck_assert_uint_eq(stats_of(pool).live_objects, 1);
		tide_unpin(pool, obj);
		ck_assert_uint_eq(counts.resets, round + 1);
		ck_assert_uint_eq(stats_of(pool).live_objects, 0);
		ck_assert_uint_eq(stats_of(pool).puts, round + 1);
	}
	end_pool(pool);
	ck_assert_uint_eq(counts.inits, counts.finis);
}
END_TEST

START_TEST(a_put_used_while_pinned_resets_all_bytes)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	unsigned char *obj;
	tide_ref ref;

	obj = get_pinned(pool, &ref);
	obj[299] = 1; /* a pinner wrote past what the owner says was used */
	tide_put_used(pool, obj, 10);
	tide_unpin(pool, obj);
	ck_assert_uint_eq(counts.used, 300);
	obj = get_pinned(pool, &ref);
	obj[299] = 1;
	ck_assert_int_eq(tide_put_ref_used(pool, ref, 10), 0);
	tide_unpin(pool, obj);
	ck_assert_uint_eq(counts.used, 300);
	obj = get_pinned(pool, &ref);
	tide_unpin(pool, obj);
	tide_put_used(pool, obj, 10); /* no longer pinned */
	ck_assert_uint_eq(counts.used, 10);
	end_pool(pool);
}
END_TEST

START_TEST(only_the_last_unpin_takes_it_back)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	tide_ref ref;
	unsigned char *obj = get_pinned(pool, &ref);

	for (unsigned i = 1; i < 1000; i++)
		ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_put(pool, obj);
	for (unsigned i = 1; i < 1000; i++) {
		tide_unpin(pool, obj);
		ck_assert_uint_eq(counts.resets, 0);
	}
	tide_unpin(pool, obj);
	ck_assert_uint_eq(counts.resets, 1);
	end_pool(pool);
}
END_TEST

struct job {
	tide_pool *pool;
	void *obj;
};

static void *
unpin_it(void *arg)
{
	struct job *job = arg;

	tide_unpin(job->pool, job->obj);
	return (void *)(uintptr_t)pthread_self();
}

START_TEST(the_last_unpin_runs_the_hooks_on_its_thread)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	tide_ref ref;
	struct job job = { pool, get_pinned(pool, &ref) };
	pthread_t thread;

	tide_put(pool, job.obj);
	thread = start(unpin_it, &job);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counts.resets, 1);
	ck_assert(!pthread_equal(counts.thread, pthread_self()));
	check_pool(pool);
	job.obj = get_pinned(pool, &ref);
	tide_discard(pool, job.obj);
	thread = start(unpin_it, &job);
	pthread_join(thread, NULL);
	ck_assert_uint_eq(counts.finis, 1);
	ck_assert(!pthread_equal(counts.thread, pthread_self()));
	end_pool(pool);
}
END_TEST

START_TEST(a_discard_while_pinned_waits_for_the_last_unpin)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	tide_ref ref;
	unsigned char *obj = get_pinned(pool, &ref);

	memset(obj, 0x5a, 300);
	tide_discard(pool, obj);
	ck_assert(!tide_ref_is_live(pool, ref));
	ck_assert_ptr_null(tide_pin(pool, ref));
	ck_assert_uint_eq(counts.finis, 0);
	ck_assert(is_all(obj, 300, 0x5a));
	ck_assert_uint_eq(stats_of(pool).live_objects, 1);
	tide_unpin(pool, obj);
	ck_assert_uint_eq(counts.finis, 1);
	ck_assert_uint_eq(counts.resets, 0);
	ck_assert_uint_eq(stats_of(pool).discards, 1);
	ck_assert_uint_eq(stats_of(pool).released, 1);
	obj = get_pinned(pool, &ref); /* zero bytes again */
	tide_unpin(pool, obj);
	tide_put(pool, obj);
	end_pool(pool);
	ck_assert_uint_eq(counts.inits, counts.finis);
}
END_TEST

START_TEST(bulk_puts_leave_pinned_objects_to_their_unpin)
{
	struct counts counts = { 0 };
	tide_pool *pool = COUNTED_POOL(&counts, .flags = 0);
	void *objs[100];
	tide_ref ref;

	ck_assert_int_eq(tide_get_bulk(pool, objs, 100), 0);
	for (unsigned i = 0; i < 100; i += 2) {
		ref = tide_ref_of(pool, objs[i]);
		ck_assert_ptr_eq(tide_pin(pool, ref), objs[i]);
	}
	tide_put_bulk(pool, objs, 100);
	ck_assert_uint_eq(counts.resets, 50);
	ck_assert_uint_eq(stats_of(pool).live_objects, 50);
	for (unsigned i = 0; i < 100; i += 2)
		tide_unpin(pool, objs[i]);
	ck_assert_uint_eq(counts.resets, 100);
	end_pool(pool);
}
END_TEST

START_TEST(more_pins_than_there_is_room_for_are_eoverflow)
{
	tide_pool *pool = NEW_POOL("pins", 64);
	unsigned pins = 0;
	tide_ref ref;
	void *obj = tide_get_ref(pool, &ref);

	while (pins <= PINS_MAX && tide_pin(pool, ref) == obj)
		pins++;
	ck_assert_int_eq(errno, EOVERFLOW);
	ck_assert_uint_eq(pins, PINS_MAX);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_ptr_null(tide_pin(pool, ref));
	ck_assert(tide_ref_is_live(pool, ref));
	tide_unpin(pool, obj);
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	ck_assert_ptr_null(tide_pin(pool, ref));
	tide_put(pool, obj); /* full of pins, put all the same */
	ck_assert(!tide_ref_is_live(pool, ref));
	errno = 0;
	ck_assert_ptr_null(tide_pin(pool, ref));
	ck_assert_int_eq(errno, ESTALE);
	while (pins-- > 0)
		tide_unpin(pool, obj);
	ck_assert_uint_eq(stats_of(pool).puts, 1);
	end_pool(pool);
}
END_TEST

static int
stop_at_once(void *obj, tide_ref ref, void *arg)
{
	(void)ref;
	*(void **)arg = obj;
	return 1;
}

START_TEST(a_walk_visits_an_object_that_callers_can_pin_no_more)
{
	tide_pool *pool = NEW_POOL("pins", 64);
	void *obj, *visited = NULL;
	tide_ref ref;

	obj = tide_get_ref(pool, &ref);
	while (tide_pin(pool, ref) != NULL)
		continue;
	ck_assert_uint_eq(tide_pool_each(pool, stop_at_once, &visited), 1);
	ck_assert_ptr_eq(visited, obj);
	tide_put(pool, obj);
	for (unsigned i = 0; i < PINS_MAX; i++)
		tide_unpin(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(destroy_is_ebusy_while_pins_remain)
{
	struct seen seen = { 0 };
	tide_pool *pool = NEW_POOL("pins", 64);
	tide_ref ref;
	void *obj = get_pinned(pool, &ref);

	tide_set_misuse_handler(see_report, &seen);
	ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
	ck_assert(tide_ref_is_live(pool, ref));
	tide_put(pool, obj);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
	ck_assert_uint_eq(seen.n, 4);
	ck_assert_uint_eq(seen.last.kind, TIDE_LEAK);
	check_pool(pool);
	tide_unpin(pool, obj);
	end_pool(pool);
}
END_TEST

/* ---- threads -------------------------------------------------------------- */

#define OBJECTS     8
#define NEW_OBJECTS 20000

struct shared {
	tide_pool *pool;
	_Atomic tide_ref refs[OBJECTS]; /* as an epoll set would have them */
	_Atomic bool stop;
	_Atomic unsigned pinned;
};

/* The owner writes its ref all over the object before anybody may know it. */
static void *
own_objects(void *arg)
{
	struct shared *shared = arg;
	tide_ref *objs[OBJECTS] = { NULL };
	tide_ref ref;

	for (unsigned i = 0; i < ROUNDS(NEW_OBJECTS); i++) {
		tide_ref **obj = &objs[i % OBJECTS];

		if (*obj != NULL && i % 3 == 0)
			tide_put(shared->pool, *obj);
		else if (*obj != NULL)
			ck_assert_int_eq(tide_put_ref(shared->pool, shared->refs[i % OBJECTS]), 0);
		*obj = tide_get_ref(shared->pool, &ref);
		ck_assert_ptr_nonnull(*obj);
		for (unsigned at = 0; at < 16; at++) {
			ck_assert_uint_eq((*obj)[at], 0);
			(*obj)[at] = ref;
		}
		shared->refs[i % OBJECTS] = ref; /* a release: pinners see the writes */
	}
	shared->stop = true;
	for (unsigned i = 0; i < OBJECTS; i++)
		tide_put(shared->pool, objs[i]);
	return NULL;
}

static void *
pin_objects(void *arg)
{
	struct shared *shared = arg;

	for (unsigned i = 0; !shared->stop; i++) {
		tide_ref ref = shared->refs[i % OBJECTS];
		const tide_ref *obj = tide_pin(shared->pool, ref);

		if (obj == NULL) {
			ck_assert_int_eq(errno, ESTALE);
			continue;
		}
		shared->pinned++;
		for (unsigned at = 0; at < 16; at++)
			ck_assert_msg(obj[at] == ref, "a pinned object vanished");
		if (i % 16 == 0)
			sched_yield(); /* let the owner put it */
		for (unsigned at = 0; at < 16; at++)
			ck_assert_msg(obj[at] == ref, "a pinned object vanished");
		tide_unpin(shared->pool, (void *)(uintptr_t)obj);
	}
	return NULL;
}

START_TEST(a_pinned_object_never_vanishes_while_its_owner_puts_and_gets)
{
	struct shared shared = { .pool = NEW_POOL("shared", 128) };
	pthread_t threads[3];

	for (unsigned i = 0; i < 2; i++)
		threads[i] = start(pin_objects, &shared);
	threads[2] = start(own_objects, &shared);
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(stats_of(shared.pool).puts, ROUNDS(NEW_OBJECTS));
	end_pool(shared.pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_pin_gives_the_owners_object,
		a_pinned_object_outlives_the_put_of_its_owner,
		a_put_used_while_pinned_resets_all_bytes,
		only_the_last_unpin_takes_it_back,
		the_last_unpin_runs_the_hooks_on_its_thread,
		a_discard_while_pinned_waits_for_the_last_unpin,
		bulk_puts_leave_pinned_objects_to_their_unpin,
		more_pins_than_there_is_room_for_are_eoverflow,
		a_walk_visits_an_object_that_callers_can_pin_no_more,
		destroy_is_ebusy_while_pins_remain,
		a_pinned_object_never_vanishes_while_its_owner_puts_and_gets,
	};

	return run_tests("refs_pin", tests, LENGTH(tests));
}
