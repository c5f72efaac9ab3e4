/* SPDX-License-Identifier: MIT */
/* refs_stale.c - a ref names one life of one object, and is stale for ever after. */
#include "common.h"

#define NO_REF UINT64_C(0)

/* Everything that takes a ref refuses this one, quietly, and changes nothing. */
static void
expect_stale(tide_pool *pool, tide_ref ref)
{
	struct tide_pool_stats before = stats_of(pool), after;

	ck_assert_msg(!tide_ref_is_live(pool, ref), "%#llx is live", (unsigned long long)ref);
	errno = 0;
	ck_assert_ptr_null(tide_pin(pool, ref));
	ck_assert_int_eq(errno, ESTALE);
	ck_assert_int_eq(tide_put_ref(pool, ref), -ESTALE);
	ck_assert_int_eq(tide_put_ref_used(pool, ref, 1), -ESTALE);
	ck_assert_int_eq(tide_put_ref_used(pool, ref, SIZE_MAX), -ESTALE);
	after = stats_of(pool);
	ck_assert_int_eq(memcmp(&before, &after, sizeof(before)), 0);
}

static void *
get_ref(tide_pool *pool, tide_ref *ref)
{
	void *obj = tide_get_ref(pool, ref);

	ck_assert_ptr_nonnull(obj);
	ck_assert_uint_ne(*ref, NO_REF);
	ck_assert(tide_ref_is_live(pool, *ref));
	ck_assert_uint_eq(tide_ref_of(pool, obj), *ref);
	return obj;
}

START_TEST(a_ref_is_live_from_get_to_put)
{
	tide_pool *pool = NEW_POOL("refs", 64);
	tide_ref refs[500];
	void *objs[500];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 500; i++)
			objs[i] = get_ref(pool, &refs[i]);
		for (unsigned i = 0; i < 500; i++) {
			ck_assert(tide_ref_is_live(pool, refs[i]));
			ck_assert_ptr_eq(tide_pin(pool, refs[i]), objs[i]);
			tide_unpin(pool, objs[i]);
			if (i % 3 == 0)
				tide_put(pool, objs[i]);
			else if (i % 3 == 1)
				ck_assert_int_eq(tide_put_ref(pool, refs[i]), 0);
			else
				tide_discard(pool, objs[i]);
			expect_stale(pool, refs[i]);
			ck_assert_uint_eq(tide_ref_of(pool, objs[i]), NO_REF);
		}
	}
	end_pool(pool);
}
END_TEST

START_TEST(a_stale_ref_is_no_misuse)
{
	tide_pool *pool = NEW_POOL("refs", 64);
	struct seen seen = { 0 };
	struct tide_stats all;
	tide_ref ref;

	tide_set_misuse_handler(see_report, &seen);
	tide_put(pool, get_ref(pool, &ref));
	for (unsigned i = 0; i < 100; i++)
		expect_stale(pool, ref);
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.misuses, 0);
	ck_assert_uint_eq(seen.n, 0);
	end_pool(pool);
}
END_TEST

START_TEST(a_stale_ref_never_names_the_next_object_in_the_same_place)
{
	tide_pool *pool = NEW_POOL("refs", 64);
	static tide_ref refs[ROUNDS(20000)];
	void *obj, *first = NULL;
	unsigned in_place = 0;

	for (size_t i = 0; i < LENGTH(refs); i++) {
		obj = get_ref(pool, &refs[i]);
		if (i == 0)
			first = obj;
		in_place += obj == first;
		for (size_t step = 1; step <= i; step = step * 2 + 1) {
			ck_assert(!tide_ref_is_live(pool, refs[i - step]));
			ck_assert_ptr_null(tide_pin(pool, refs[i - step]));
			ck_assert_int_eq(tide_put_ref(pool, refs[i - step]), -ESTALE);
		}
		if (i % 7 == 0)
			tide_discard(pool, obj);
		else
			tide_put(pool, obj);
	}
	ck_assert_uint_gt(in_place, 10); /* or this test tests nothing */
	for (size_t i = 0; i < LENGTH(refs); i++)
		ck_assert(!tide_ref_is_live(pool, refs[i]));
	end_pool(pool);
}
END_TEST

static int
compare_refs(const void *one, const void *two)
{
	tide_ref a = *(const tide_ref *)one, b = *(const tide_ref *)two;

	return (a > b) - (a < b);
}

/* All refs that were ever given, of pools of many sizes in turn, are different. */
START_TEST(no_ref_is_given_twice)
{
	static tide_ref refs[ROUNDS(100000)];
	size_t n = 0;

	for (unsigned round = 0; n < LENGTH(refs); round++) {
		static const size_t sizes[] = { 64, 8, 4096, 100, 20000, 64, 200000, 16 };
		tide_pool *pool = NEW_POOL("refs", sizes[round % LENGTH(sizes)], .flags = 0);
		tide_ref held[20];
		void *objs[20];

		for (unsigned life = 0; life < 20; life++) {
			for (unsigned i = 0; i < 20 && n < LENGTH(refs); i++) {
				objs[i] = get_ref(pool, &held[i]);
				refs[n++] = held[i];
			}
			if (n == LENGTH(refs) && n % 20 != 0)
				break;
			for (unsigned i = 0; i < 20; i++)
				if (tide_ref_is_live(pool, held[i]))
					tide_put(pool, objs[i]);
		}
		ck_assert_int_eq(tide_pool_destroy(pool), 0);
	}
	qsort(refs, n, sizeof(refs[0]), compare_refs);
	for (size_t i = 1; i < n; i++)
		ck_assert_uint_ne(refs[i - 1], refs[i]);
}
END_TEST

static uint64_t
random64(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* 64 bits that never were a ref: small, large, near to a real one, random. */
static void
try_all_kinds_of_bits(tide_pool *pool, tide_ref real)
{
	static const tide_ref odd[] = { 0,
					1,
					2,
					0xff,
					0xffffff,
					UINT64_MAX,
					INT64_MAX,
					UINT64_C(1) << 63,
					UINT64_C(0xffffff0000000000),
					UINT64_C(0x000000ffffffffff),
					UINT64_C(0xfffffe0000000001) };
	uint64_t seed = 88172645463325252u;

	for (size_t i = 0; i < LENGTH(odd); i++)
		if (odd[i] != real)
			expect_stale(pool, odd[i]);
	for (unsigned bit = 0; bit < 64; bit++) {
		expect_stale(pool, UINT64_C(1) << bit ^ (real == UINT64_C(1) << bit));
		expect_stale(pool, real ^ UINT64_C(1) << bit);
		expect_stale(pool, real + (UINT64_C(1) << bit));
		expect_stale(pool, real - (UINT64_C(1) << bit));
	}
	for (unsigned i = 0; i < ROUNDS(30000); i++) {
		tide_ref ref = random64(&seed);

		/* Any slab number at all, or the real one with any slot and life. */
		if (i % 2)
			ref = (real & ~UINT64_C(0xffffffffff)) | (ref & UINT64_C(0xffffffffff));
		if (ref != real) {
			ck_assert(!tide_ref_is_live(pool, ref));
			ck_assert_ptr_null(tide_pin(pool, ref));
			ck_assert_int_eq(tide_put_ref(pool, ref), -ESTALE);
		}
	}
}

START_TEST(any_bits_may_be_given_before_the_first_get)
{
	tide_pool *pool = NEW_POOL("refs", 64);

	try_all_kinds_of_bits(pool, 0);
	end_pool(pool);
}
END_TEST

START_TEST(any_bits_may_be_given_beside_a_live_object)
{
	static const size_t sizes[] = { 1, 64, 5000, 100000, 3 * MIB };

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		tide_pool *pool = NEW_POOL("refs", sizes[i]);
		tide_ref ref;
		void *obj = get_ref(pool, &ref);

		try_all_kinds_of_bits(pool, ref);
		ck_assert(tide_ref_is_live(pool, ref));
		ck_assert_int_eq(tide_put_ref(pool, ref), 0);
		ck_assert_uint_eq(tide_ref_of(pool, obj), NO_REF);
		try_all_kinds_of_bits(pool, ref ^ 1);
		end_pool(pool);
	}
}
END_TEST

START_TEST(a_ref_of_another_pool_is_stale)
{
	static const size_t sizes[] = { 64, 64, 8, 5000, 64 * MIB };
	tide_pool *pools[LENGTH(sizes)];
	tide_ref refs[LENGTH(sizes)];
	void *objs[LENGTH(sizes)];

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		pools[i] = NEW_POOL("refs", sizes[i]);
		objs[i] = get_ref(pools[i], &refs[i]);
	}
	for (size_t i = 0; i < LENGTH(sizes); i++)
		for (size_t j = 0; j < LENGTH(sizes); j++)
			if (i != j) {
				expect_stale(pools[i], refs[j]);
				ck_assert_uint_eq(tide_ref_of(pools[i], objs[j]), NO_REF);
			}
	for (size_t i = 0; i < LENGTH(sizes); i++) {
		ck_assert_int_eq(tide_put_ref(pools[i], refs[i]), 0);
		end_pool(pools[i]);
	}
}
END_TEST

START_TEST(ref_of_what_is_no_live_object_is_0)
{
	tide_pool *pool = NEW_POOL("refs", 64);
	char *obj = tide_get(pool);
	char local;
	void *block = malloc(64);

	ck_assert_uint_eq(tide_ref_of(pool, NULL), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, &local), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, block), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, obj + 1), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, obj + 64), NO_REF); /* a slot that is empty */
	ck_assert_uint_eq(tide_ref_of(pool, (void *)1), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, (void *)(uintptr_t)0xffff800000000000), NO_REF);
	ck_assert_uint_eq(tide_ref_of(pool, (void *)UINTPTR_MAX), NO_REF);
	free(block);
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

static int
fail_init(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	return -EIO;
}

START_TEST(a_get_ref_that_fails_gives_ref_0)
{
	tide_pool *pool = NEW_POOL("refs", 64, .init = fail_init);
	tide_ref ref = 77;

	ck_assert_ptr_null(tide_get_ref(pool, &ref));
	ck_assert_int_eq(errno, EIO);
	ck_assert_uint_eq(ref, NO_REF);
	end_pool(pool);
}
END_TEST

/* ---- memory that goes from pool to pool ----------------------------------- */

struct old {
	tide_ref refs[100];
	void *objs[100];
	unsigned n;
};

/* Refs stay safe after their slab was released and reused by a pool of another size. */
START_TEST(refs_of_a_destroyed_pool_are_stale_in_the_next_one)
{
	static const size_t sizes[] = { 64, 8, 100, 4096, 64, 1000, 30000, 16, 64, 200000, 64, 1 };
	enum { CYCLES = 5 };
	static struct old olds[CYCLES * LENGTH(sizes)];
	unsigned same_memory = 0;

	for (unsigned c = 0; c < LENGTH(olds); c++) {
		tide_pool *pool = NEW_POOL("next", sizes[c % LENGTH(sizes)], .flags = 0);
		struct old *now = &olds[c];

		for (unsigned o = 0; o < c; o++)
			for (unsigned i = 0; i < olds[o].n; i++)
				ck_assert(!tide_ref_is_live(pool, olds[o].refs[i]));
		for (now->n = 0; now->n < 100; now->n++)
			now->objs[now->n] = get_ref(pool, &now->refs[now->n]);
		for (unsigned o = 0; o < c; o++) {
			same_memory += olds[o].objs[0] == now->objs[0];
			for (unsigned i = 0; i < olds[o].n; i++) {
				ck_assert(!tide_ref_is_live(pool, olds[o].refs[i]));
				ck_assert_ptr_null(tide_pin(pool, olds[o].refs[i]));
				ck_assert_int_eq(tide_put_ref(pool, olds[o].refs[i]), -ESTALE);
			}
		}
		for (unsigned i = 0; i < now->n; i++)
			tide_put(pool, now->objs[i]);
		check_pool(pool);
		ck_assert_int_eq(tide_pool_destroy(pool), 0);
	}
	ck_assert_uint_gt(same_memory, 0); /* or this test tests nothing */
}
END_TEST

/* ---- generations that end ------------------------------------------------- */

/*
 * In an --enable-debug build a slot has few generations: it retires here, and the
 * pool goes on with others. Elsewhere it is only reused many times.
 */
START_TEST(refs_outlive_slots_that_retire)
{
	static tide_ref refs[ROUNDS(30000)];
	static const size_t sizes[] = { 64, 5000, 100000 };

	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *pool = NEW_POOL("retire", sizes[s]);
		void *first = NULL, *obj;

		for (size_t i = 0; i < LENGTH(refs); i++) {
			obj = get_ref(pool, &refs[i]);
			if (first == NULL)
				first = obj;
			ck_assert(is_all(obj, 64, 0));
			memset(obj, 0x5a, 64);
			if (i % 2)
				ck_assert_int_eq(tide_put_ref_used(pool, refs[i], 64), 0);
			else
				tide_put_used(pool, obj, 64);
			ck_assert(!tide_ref_is_live(pool, refs[i]));
		}
		for (size_t i = 0; i < LENGTH(refs); i++)
			ck_assert_ptr_null(tide_pin(pool, refs[i]));
		check_pool(pool);
		obj = get_ref(pool, &refs[0]);
		ck_assert_ptr_eq(tide_pin(pool, refs[0]), obj);
		tide_put(pool, obj);
		tide_unpin(pool, obj);
		end_pool(pool);
	}
}
END_TEST

START_TEST(an_object_in_a_slot_that_retires_is_finalized_once)
{
	struct hook_calls calls = { 0 };
	tide_pool *pool =
		NEW_POOL("retire", 64, .init = count_init, .fini = count_fini, .ctx = &calls);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 20000; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.created, calls.inits);
	ck_assert_uint_eq(stats.released, calls.finis);
	ck_assert_uint_le(stats.idle_objects, 1);
	end_pool(pool);
	ck_assert_uint_eq(calls.inits, calls.finis);
}
END_TEST

/* ---- put by ref ----------------------------------------------------------- */

START_TEST(put_ref_used_clears_what_was_dirtied)
{
	tide_pool *pool = NEW_POOL("used", 300);

	for (size_t used = 0; used <= 300; used++) {
		tide_ref ref;
		void *obj = get_ref(pool, &ref);

		ck_assert(is_all(obj, 300, 0));
		memset(obj, 0x5a, used);
		ck_assert_int_eq(tide_put_ref_used(pool, ref, used), 0);
	}
	end_pool(pool);
}
END_TEST

struct racer {
	tide_pool *pool;
	tide_ref ref;
	pthread_barrier_t *barrier;
	_Atomic unsigned *won;
};

static void *
race_to_put(void *arg)
{
	struct racer *racer = arg;
	int err;

	for (unsigned i = 0; i < ROUNDS(2000); i++) {
		pthread_barrier_wait(racer->barrier);
		err = tide_put_ref(racer->pool, racer->ref);
		ck_assert(err == 0 || err == -ESTALE);
		*racer->won += err == 0;
		pthread_barrier_wait(racer->barrier);
	}
	return NULL;
}

START_TEST(of_threads_that_put_one_ref_one_succeeds)
{
	tide_pool *pool = NEW_POOL("race", 64);
	pthread_barrier_t barrier;
	_Atomic unsigned won = 0;
	struct racer racers[3];
	pthread_t threads[3];
	tide_ref ref;

	pthread_barrier_init(&barrier, NULL, 4);
	for (unsigned i = 0; i < 3; i++) {
		racers[i] = (struct racer){ pool, 0, &barrier, &won };
		threads[i] = start(race_to_put, &racers[i]);
	}
	for (unsigned i = 0; i < ROUNDS(2000); i++) {
		get_ref(pool, &ref);
		for (unsigned r = 0; r < 3; r++)
			racers[r].ref = ref;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		ck_assert_uint_eq(won, i + 1);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_ref_is_live_from_get_to_put,
		a_stale_ref_is_no_misuse,
		a_stale_ref_never_names_the_next_object_in_the_same_place,
		no_ref_is_given_twice,
		any_bits_may_be_given_before_the_first_get,
		any_bits_may_be_given_beside_a_live_object,
		a_ref_of_another_pool_is_stale,
		ref_of_what_is_no_live_object_is_0,
		a_get_ref_that_fails_gives_ref_0,
		refs_of_a_destroyed_pool_are_stale_in_the_next_one,
		refs_outlive_slots_that_retire,
		an_object_in_a_slot_that_retires_is_finalized_once,
		put_ref_used_clears_what_was_dirtied,
		of_threads_that_put_one_ref_one_succeeds,
	};

	return run_tests("refs_stale", tests, LENGTH(tests));
}
