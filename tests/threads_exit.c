/* SPDX-License-Identifier: MIT */
/* threads_exit.c - what a thread still holds, or is in the middle of, as it ends. */
#include "common.h"

/* ---- destructors that run after ours -------------------------------------- */

#define HELD        60
#define LATE_ROUNDS (THREAD_SANITIZED ? 2u : 4u) /* see pool_threads.c */

static pthread_key_t late_key;

struct holder {
	tide_pool *pools[4];
	void *objs[4][HELD];
	tide_ref refs[4][HELD];
	unsigned rounds;
};

/* A part of what the thread holds in each round; in the first one gets too. */
static void
put_late(void *arg)
{
	struct holder *holder = arg;

	for (unsigned i = holder->rounds; i < HELD; i += LATE_ROUNDS) {
		for (unsigned p = 0; p < 4; p++) {
			tide_pool *pool = holder->pools[p];
			void *obj = tide_get(pool);

			ck_assert_ptr_nonnull(obj);
			if (i % 3 == 0)
				tide_put(pool, holder->objs[p][i]);
			else if (i % 3 == 1)
				ck_assert_int_eq(tide_put_ref(pool, holder->refs[p][i]), 0);
			else
				tide_discard(pool, holder->objs[p][i]);
			tide_put(pool, obj);
		}
	}
	if (++holder->rounds < LATE_ROUNDS)
		pthread_setspecific(late_key, holder);
}

static void *
hold_and_end(void *arg)
{
	struct holder *holder = arg;

	pthread_setspecific(late_key, holder);
	for (unsigned p = 0; p < 4; p++)
		for (unsigned i = 0; i < HELD; i++)
			holder->objs[p][i] = tide_get_ref(holder->pools[p], &holder->refs[p][i]);
	return NULL;
}

static int
reset_hook(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	return 0;
}

/* The library's key is older than ours: its destructor comes first. */
START_TEST(objects_held_to_the_end_are_put_by_later_destructors)
{
	struct holder holder = { 0 };
	struct tide_stats stats;

	setenv("TIDENUMA", "fake=2", 1);
	holder.pools[0] = NEW_POOL("plain", 64);
	holder.pools[1] = NEW_POOL("hooked", 64, .reset = reset_hook);
	holder.pools[2] = NEW_POOL("wiped", 300, .reset = tide_reset_wipe);
	holder.pools[3] = NEW_POOL("large", 70000);
	ck_assert_int_eq(pthread_key_create(&late_key, put_late), 0);
	for (unsigned i = 0; i < 5; i++) {
		holder.rounds = 0;
		run_thread(hold_and_end, &holder);
		ck_assert_uint_eq(holder.rounds, LATE_ROUNDS);
		for (unsigned p = 0; p < 4; p++) {
			ck_assert_uint_eq(stats_of(holder.pools[p]).caches, 0);
			ck_assert_uint_eq(stats_of(holder.pools[p]).live_objects, 0);
			check_pool(holder.pools[p]);
		}
	}
	tide_stats_read(&stats, sizeof(stats));
	ck_assert_uint_eq(stats.threads, 0);
	for (unsigned p = 0; p < 4; p++)
		end_pool(holder.pools[p]);
}
END_TEST

/* ---- cancelled in a hook -------------------------------------------------- */

enum place { NOWHERE, IN_INIT, IN_RESET, IN_FINI, IN_INNER_RESET, IN_WALK };

static _Atomic unsigned inits, finis;
static enum place place;
static tide_pool *inner;

/* What a hook does that is a cancellation point, when the time has come. */
static void
be_cancelled_at(enum place here)
{
	if (place != here)
		return;
	place = NOWHERE;
	pthread_cancel(pthread_self());
	pthread_testcancel();
}

static int
init_here(void *obj, void *ctx)
{
	(void)obj;
	(void)ctx;
	be_cancelled_at(IN_INIT);
	inits++;
	return 0;
}

static int
reset_inner(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	be_cancelled_at(IN_INNER_RESET);
	memset(obj, 0, used);
	return 0;
}

static int
reset_here(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	be_cancelled_at(IN_RESET);
	if (inner != NULL)
		tide_put(inner, tide_get(inner));
	memset(obj, 0, used);
	return 0;
}

static void
fini_here(void *obj, void *ctx)
{
	(void)ctx;
	be_cancelled_at(IN_FINI);
	memset(obj, 0, 64);
	finis++;
}

static int
visit_here(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	be_cancelled_at(IN_WALK);
	++*(unsigned *)arg;
	return 0;
}

struct actor {
	tide_pool *pool;
	int type;
	void (*act)(tide_pool *pool);
	bool has_acted;
};

static void *
act(void *arg)
{
	struct actor *actor = arg;

	enum place later = place;

	/* Something is in the caches: the put will be one that hits. */
	place = NOWHERE;
	tide_put(actor->pool, tide_get(actor->pool));
	place = later;
	pthread_setcanceltype(actor->type, NULL);
	actor->act(actor->pool);
	actor->has_acted = true;
	pthread_testcancel();
	ck_abort_msg("not cancelled");
	return NULL;
}

/*
 * Is a call that is cancelled in one of its hooks carried out? In any case no lock is
 * held and nothing is inside a gate afterwards, nothing is live, and each init has
 * had its fini or will have it.
 */
static bool
is_carried_out(enum place where, int type, void (*fn)(tide_pool *pool), tide_pool *pool)
{
	struct actor actor = { .pool = pool, .type = type, .act = fn };

	place = where;
	run_thread(act, &actor);
	ck_assert_int_eq(place, NOWHERE);
	check_pool(pool);
	ck_assert_uint_eq(stats_of(pool).live_objects, 0);
	ck_assert_uint_eq(stats_of(pool).caches, 0);
	ck_assert_uint_eq(stats_of(pool).created, inits);
	ck_assert_uint_eq(stats_of(pool).released, finis);
	return actor.has_acted;
}

/* (ck_assert() is a cancellation point itself, even when it holds.) */
#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition))                                                                  \
			ck_abort_msg("%s", #condition);                                            \
	} while (0)

static void
get_many(tide_pool *pool)
{
	void *objs[200];

	REQUIRE(tide_get_bulk(pool, objs, LENGTH(objs)) == 0);
	tide_put_bulk(pool, objs, LENGTH(objs));
}

static void
put_one(tide_pool *pool)
{
	tide_put(pool, tide_get(pool));
}

static void
put_one_by_ref(tide_pool *pool)
{
	tide_ref ref;

	REQUIRE(tide_get_ref(pool, &ref) != NULL);
	REQUIRE(tide_put_ref(pool, ref) == 0);
}

static void
discard_one(tide_pool *pool)
{
	tide_discard(pool, tide_get(pool));
}

static void
walk(tide_pool *pool)
{
	void *objs[3];
	unsigned visited = 0;

	REQUIRE(tide_get_bulk(pool, objs, 3) == 0);
	REQUIRE(tide_pool_each(pool, visit_here, &visited) == 3);
	REQUIRE(visited == 3);
	tide_put_bulk(pool, objs, 3);
}

static tide_pool *
pool_of_points(void)
{
	return NEW_POOL("points", 64, .init = init_here, .reset = reset_here, .fini = fini_here);
}

static void
end_points(tide_pool *pool)
{
	end_pool(pool);
	ck_assert_uint_eq(inits, finis);
}

START_TEST(inits_finis_and_walks_are_no_cancellation_points)
{
	tide_pool *pool = pool_of_points();

	ck_assert(is_carried_out(IN_INIT, PTHREAD_CANCEL_DEFERRED, get_many, pool));
	ck_assert(is_carried_out(IN_FINI, PTHREAD_CANCEL_DEFERRED, discard_one, pool));
	ck_assert(is_carried_out(IN_WALK, PTHREAD_CANCEL_DEFERRED, walk, pool));
	end_points(pool);
}
END_TEST

START_TEST(an_object_whose_reset_was_cancelled_is_let_go)
{
	static const int types[] = { PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS };
	static void (*const puts[])(tide_pool * pool) = { put_one, put_one_by_ref };
	tide_pool *pool = pool_of_points();
	uint64_t broken = 0;

	for (size_t i = 0; i < LENGTH(types); i++) {
		for (size_t j = 0; j < LENGTH(puts); j++) {
			ck_assert(!is_carried_out(IN_RESET, types[i], puts[j], pool));
			ck_assert_uint_eq(stats_of(pool).broken, ++broken);
			ck_assert_uint_eq(stats_of(pool).released, broken);
		}
	}
	end_points(pool);
}
END_TEST

START_TEST(a_bulk_put_is_not_cut_short)
{
	tide_pool *pool = pool_of_points();

	ck_assert(is_carried_out(IN_RESET, PTHREAD_CANCEL_DEFERRED, get_many, pool));
	ck_assert_uint_eq(stats_of(pool).broken, 0);
	end_points(pool);
}
END_TEST

START_TEST(a_put_in_a_reset_is_not_cut_short)
{
	tide_pool *pool = pool_of_points();

	inner = NEW_POOL("inner", 64, .reset = reset_inner);
	ck_assert(is_carried_out(IN_INNER_RESET, PTHREAD_CANCEL_DEFERRED, put_one, pool));
	ck_assert_uint_eq(stats_of(pool).broken, 0);
	ck_assert_uint_eq(stats_of(inner).broken, 0);
	end_points(pool);
	end_pool(inner);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		objects_held_to_the_end_are_put_by_later_destructors,
		inits_finis_and_walks_are_no_cancellation_points,
		an_object_whose_reset_was_cancelled_is_let_go,
		a_bulk_put_is_not_cut_short,
		a_put_in_a_reset_is_not_cut_short,
	};

	/*
	 * AddressSanitizer does not see how a cancellation leaves frames, and takes what
	 * comes to lie there for overflows: without the cancelled ones.
	 */
	return run_tests("threads_exit", tests, ADDRESS_SANITIZED ? 1 : LENGTH(tests));
}
