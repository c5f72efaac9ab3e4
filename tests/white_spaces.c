/* SPDX-License-Identifier: MIT */
/*
 * white_spaces.c - objects beyond the first space are like any others. An address
 * limit of 1 GiB is pretended, so that spaces are small and several are needed, and
 * the sanitizers keep their addresses. White-box: whether an object lies beyond the
 * first space only arena/ can say.
 */
#include "config.h"

#include "common.h"

#include "arena/region.h"
#include "numa/osmem.h"

#define SMALL_BYTES 64
#define SMALL_OBJS  3000
#define BIG_BYTES   MIB

size_t __wrap_tidep_numa_address_limit(void);

size_t
__wrap_tidep_numa_address_limit(void)
{
	return (size_t)1 << 30;
}

static bool
is_beyond_first(const void *obj)
{
	struct tidep_granule *granule;

	return !tidep_arena_granule_in_first(obj, &granule) && tidep_arena_granule_of(obj) != NULL;
}

static tide_pool *filler;
static void *fillings[1024];
static size_t fillings_n;

/* Takes all of the first space, and a pool that comes later is beyond it. */
static tide_pool *
pool_beyond(const struct tide_pool_config *config)
{
	filler = NEW_POOL("filler", BIG_BYTES);
	do {
		ck_assert_uint_lt(fillings_n, LENGTH(fillings));
		fillings[fillings_n] = tide_get(filler);
		ck_assert_ptr_nonnull(fillings[fillings_n]);
	} while (!is_beyond_first(fillings[fillings_n++]));
	/* No magazine has been needed so far: they lie beyond too. */
	return new_pool(config);
}

static void
end_both(tide_pool *pool)
{
	end_pool(pool);
	tide_put_bulk(filler, fillings, fillings_n);
	end_pool(filler);
}

static void *small[SMALL_OBJS];

static void
get_small(tide_pool *pool)
{
	ck_assert_int_eq(tide_get_bulk(pool, small, SMALL_OBJS), 0);
	for (size_t i = 0; i < SMALL_OBJS; i++) {
		if (!is_beyond_first(small[i]) || !is_all(small[i], SMALL_BYTES, 0))
			ck_abort_msg("object %zu, %p", i, small[i]);
		memset(small[i], 0x5a, SMALL_BYTES);
	}
}

START_TEST(they_are_got_and_put)
{
	tide_pool *pool = pool_beyond(CONFIG("small", SMALL_BYTES));

	for (unsigned round = 0; round < 3; round++) {
		get_small(pool);
		check_pool(pool);
		for (size_t i = 0; i < SMALL_OBJS; i++)
			tide_put_used(pool, small[i], SMALL_BYTES);
		check_pool(pool);
	}
	ck_assert_uint_eq(stats_of(pool).created, SMALL_OBJS);
	get_small(pool);
	for (size_t i = 0; i < SMALL_OBJS; i++)
		tide_discard(pool, small[i]);
	ck_assert_uint_eq(stats_of(pool).released, SMALL_OBJS);
	end_both(pool);
}
END_TEST

START_TEST(their_refs_are_as_good)
{
	tide_pool *pool = pool_beyond(CONFIG("small", SMALL_BYTES));
	static tide_ref refs[SMALL_OBJS];
	tide_ref before, after;
	void *obj;

	get_small(pool);
	for (size_t i = 0; i < SMALL_OBJS; i++) {
		refs[i] = tide_ref_of(pool, small[i]);
		if (refs[i] == 0 || tide_pin(pool, refs[i]) != small[i])
			ck_abort_msg("ref %zu", i);
		tide_unpin(pool, small[i]);
	}
	for (size_t i = 0; i < SMALL_OBJS; i++) {
		ck_assert(tide_ref_is_live(pool, refs[i]));
		ck_assert_int_eq(tide_put_ref(pool, refs[i]), 0);
		ck_assert(!tide_ref_is_live(pool, refs[i]));
		ck_assert_int_eq(tide_put_ref(pool, refs[i]), -ESTALE);
		ck_assert_ptr_null(tide_pin(pool, refs[i]));
	}
	/* Not in the next life either, and not of another pool. */
	get_small(pool);
	for (size_t i = 0; i < SMALL_OBJS; i++) {
		ck_assert(!tide_ref_is_live(pool, refs[i]));
		ck_assert(!tide_ref_is_live(filler, tide_ref_of(pool, small[i])));
	}
	tide_put_bulk(pool, small, SMALL_OBJS);
	/* Put while it is pinned. */
	obj = tide_get_ref(pool, &before);
	ck_assert_ptr_eq(tide_pin(pool, before), obj);
	tide_put(pool, obj);
	ck_assert(!tide_ref_is_live(pool, before));
	memset(obj, 0x5a, SMALL_BYTES);
	tide_unpin(pool, obj);
	ck_assert_ptr_eq(tide_get_ref(pool, &after), obj);
	ck_assert(is_all(obj, SMALL_BYTES, 0));
	ck_assert_uint_ne(before, after);
	ck_assert_int_eq(tide_put_ref_used(pool, after, 0), 0);
	end_both(pool);
}
END_TEST

struct walk {
	size_t n;
	uint64_t sum;
};

static int
visit(void *obj, tide_ref ref, void *arg)
{
	struct walk *walk = arg;

	(void)ref;
	walk->n++;
	walk->sum += (uintptr_t)obj;
	return 0;
}

START_TEST(a_walk_meets_each_of_them_once)
{
	tide_pool *pool = pool_beyond(CONFIG("small", SMALL_BYTES));
	struct walk walk = { 0 };
	uint64_t sum = 0;

	get_small(pool);
	for (size_t i = 0; i < SMALL_OBJS; i++)
		sum += (uintptr_t)small[i];
	ck_assert_uint_eq(tide_pool_each(pool, visit, &walk), SMALL_OBJS);
	ck_assert_uint_eq(walk.n, SMALL_OBJS);
	ck_assert_uint_eq(walk.sum, sum);
	/* The filler's are in both. */
	walk.sum = sum = 0;
	for (size_t i = 0; i < fillings_n; i++)
		sum += (uintptr_t)fillings[i];
	ck_assert_uint_eq(tide_pool_each(filler, visit, &walk), fillings_n);
	ck_assert_uint_eq(walk.sum, sum);
	tide_put_bulk(pool, small, SMALL_OBJS);
	end_both(pool);
}
END_TEST

START_TEST(misuse_of_them_is_refused)
{
	static struct seen seen;
	tide_pool *pool = pool_beyond(CONFIG("small", SMALL_BYTES));
	tide_pool *other = NEW_POOL("other", SMALL_BYTES);
	const struct tidep_space *space;
	char *obj;

	tide_set_misuse_handler(see_report, &seen);
	get_small(pool);
	obj = small[7];
	space = tidep_arena_space_of(tidep_arena_granule_of(obj));
	const struct {
		tide_pool *pool;
		void *obj;
		size_t used;
		uint32_t kind;
	} cases[] = {
		{ pool, obj + 1, 0, TIDE_FOREIGN_PUT },
		{ pool, obj + SMALL_BYTES / 2, 0, TIDE_FOREIGN_PUT },
		{ pool, space->base + space->bytes - SMALL_BYTES, 0, TIDE_FOREIGN_PUT },
		{ pool, space->base + space->bytes, 0, TIDE_FOREIGN_PUT },
		{ pool, &seen, 0, TIDE_FOREIGN_PUT },
		{ other, obj, 0, TIDE_WRONG_POOL },
		{ filler, obj, 0, TIDE_WRONG_POOL },
		{ pool, fillings[0], 0, TIDE_WRONG_POOL },
		{ pool, fillings[fillings_n - 1], 0, TIDE_WRONG_POOL },
		{ pool, obj, SMALL_BYTES + 1, TIDE_OVERFLOW },
	};
	for (unsigned i = 0; i < LENGTH(cases); i++) {
		tide_put_used(cases[i].pool, cases[i].obj, cases[i].used);
		ck_assert_uint_eq(seen.n, i + 1);
		ck_assert_uint_eq(seen.last.kind, cases[i].kind);
	}
	ck_assert(is_all(obj, SMALL_BYTES, 0x5a));
	tide_unpin(pool, obj);
	ck_assert_uint_eq(seen.last.kind, TIDE_BAD_UNPIN);
	tide_put(pool, obj);
	tide_put(pool, obj);
	ck_assert_uint_eq(seen.last.kind, TIDE_DOUBLE_PUT);
	ck_assert_uint_eq(seen.n, LENGTH(cases) + 2);
	small[7] = NULL;
	tide_put_bulk(pool, small, SMALL_OBJS);
	ck_assert_uint_eq(seen.n, LENGTH(cases) + 2);
	end_pool(other);
	end_both(pool);
}
END_TEST

static int
reset_counted(void *obj, size_t used, void *ctx)
{
	memset(obj, 0, used);
	++*(unsigned *)ctx;
	return 0;
}

START_TEST(their_hooks_run)
{
	static unsigned resets;
	tide_pool *pool =
		pool_beyond(CONFIG("small", SMALL_BYTES, .reset = reset_counted, .ctx = &resets));

	get_small(pool);
	tide_put_bulk(pool, small, SMALL_OBJS);
	ck_assert_uint_eq(resets, SMALL_OBJS);
	get_small(pool);
	for (size_t i = 0; i < SMALL_OBJS; i++)
		ck_assert_int_eq(tide_put_ref(pool, tide_ref_of(pool, small[i])), 0);
	ck_assert_uint_eq(resets, 2 * SMALL_OBJS);
	end_both(pool);
}
END_TEST

static void *
put_and_get(void *arg)
{
	tide_put_bulk(arg, small, SMALL_OBJS);
	get_small(arg);
	return NULL;
}

/* Magazines lie there too, and go from thread to thread by way of the depot. */
START_TEST(threads_hand_them_over)
{
	tide_pool *pool = pool_beyond(CONFIG("small", SMALL_BYTES));

	get_small(pool);
	for (unsigned i = 0; i < 8; i++)
		run_thread(put_and_get, pool);
	tide_put_bulk(pool, small, SMALL_OBJS);
	ck_assert_uint_eq(stats_of(pool).created, SMALL_OBJS);
	end_both(pool);
}
END_TEST

START_TEST(many_spaces_are_filled_and_used_again)
{
	enum { N = 700 };
	tide_pool *pool = NEW_POOL("big", BIG_BYTES);
	static void *objs[N];

	for (unsigned round = 0; round < 2; round++) {
		for (size_t i = 0; i < N; i++) {
			objs[i] = tide_get(pool);
			ck_assert_ptr_nonnull(objs[i]);
			ck_assert_uint_eq(*(uint64_t *)objs[i], 0);
			*(uint64_t *)objs[i] = i + 1;
		}
		ck_assert_uint_ge(atomic_load(&tidep_arena_space_count), 5);
		for (size_t i = 0; i < N; i++)
			ck_assert_uint_eq(*(uint64_t *)objs[i], i + 1);
		/* Gone, memory and all; the addresses are found again. */
		for (size_t i = 0; i < N; i++)
			tide_discard(pool, objs[i]);
		check_pool(pool);
	}
	ck_assert_uint_le(atomic_load(&tidep_arena_space_count), 6);
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		they_are_got_and_put,
		their_refs_are_as_good,
		a_walk_meets_each_of_them_once,
		misuse_of_them_is_refused,
		their_hooks_run,
		threads_hand_them_over,
		many_spaces_are_filled_and_used_again,
	};

	return run_tests("white_spaces", tests, LENGTH(tests));
}
