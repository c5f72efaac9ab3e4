/* SPDX-License-Identifier: MIT */
/*
 * misuse_quarantine.c - TIDEDEBUG=quarantine=N keeps an object back for N puts:
 * until then a stale pointer to it is caught.
 */
#include "misuse.h"

#define QUARANTINE 100

START_TEST(quarantine_delays_reuse_by_n_puts)
{
	unsigned reused = 0;
	void *first, *next;

	setenv("TIDEDEBUG", "quarantine=100", 1);
	set_up();
	for (unsigned round = 0; round < 20; round++) {
		first = tide_get(pool);
		tide_put(pool, first);
		for (unsigned puts = 0; puts < QUARANTINE; puts++) {
			next = tide_get(pool);
			ck_assert_msg(next != first, "reused after %u puts", puts);
			tide_put(pool, next);
		}
		for (unsigned puts = 0; puts < 2 * QUARANTINE; puts++) {
			next = tide_get(pool);
			reused += next == first;
			tide_put(pool, next);
		}
	}
	ck_assert_uint_gt(reused, 0); /* it is delayed, not lost */
	check_pool(pool);
	tear_down();
}
END_TEST

START_TEST(with_quarantine_a_stale_pointer_is_caught_within_n_puts)
{
	tide_ref last;
	void *stale;

	setenv("TIDEDEBUG", "quarantine=100", 1);
	set_up();
	stale = tide_get_ref(pool, &last);
	tide_put(pool, stale);
	for (unsigned puts = 0; puts < QUARANTINE; puts++) {
		tide_put(pool, tide_get(pool)); /* without quarantine: the same object */
		expect_report(PUT, pool, stale, TIDE_DOUBLE_PUT);
	}
	tear_down();
}
END_TEST

START_TEST(objects_in_quarantine_are_idle_and_finalized_by_destroy)
{
	struct hook_calls calls = { 0 };
	void *objs[150];

	setenv("TIDEDEBUG", "quarantine=100", 1);
	pool = NEW_POOL("mine", 64, .init = count_init, .fini = count_fini, .ctx = &calls);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 150), 0);
	tide_put_bulk(pool, objs, 150);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 150);
	end_pool(pool);
	ck_assert_uint_eq(calls.inits, 150);
	ck_assert_uint_eq(calls.finis, 150);
}
END_TEST

START_TEST(a_cap_is_worth_more_than_the_quarantine)
{
	void *objs[10];

	setenv("TIDEDEBUG", "quarantine=100", 1);
	pool = NEW_POOL("mine", 64, .max_bytes = 640);
	for (unsigned round = 0; round < 30; round++) {
		for (unsigned i = 0; i < 10; i++) {
			objs[i] = tide_get(pool);
			ck_assert_msg(objs[i] != NULL, "ENOMEM while objects are idle");
		}
		tide_put_bulk(pool, objs, 10);
	}
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		quarantine_delays_reuse_by_n_puts,
		with_quarantine_a_stale_pointer_is_caught_within_n_puts,
		objects_in_quarantine_are_idle_and_finalized_by_destroy,
		a_cap_is_worth_more_than_the_quarantine,
	};

	return run_tests("misuse_quarantine", tests, LENGTH(tests));
}
