/* SPDX-License-Identifier: MIT */
/* pool_verify.c - TIDEDEBUG=verifyreset=1: what is a dirty reset, and what is none. */
#include "common.h"

static int
reset_forgets_the_last_byte(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used > 0 ? used - 1 : 0);
	return 0;
}

static bool
is_zero_64(const void *obj, void *ctx)
{
	(*(unsigned *)ctx)++;
	return is_all(obj, 64, 0);
}

START_TEST(with_verifyreset_an_incomplete_reset_is_dirty_reset)
{
	unsigned asked = 0;
	struct seen seen = { 0 };
	tide_pool *pool;
	char *obj;

	setenv("TIDEDEBUG", "verifyreset=1", 1);
	pool = NEW_POOL("dirty", 64, .reset = reset_forgets_the_last_byte, .verify = is_zero_64,
			.ctx = &asked);
	tide_set_misuse_handler(see_report, &seen);
	obj = tide_get(pool);
	tide_put(pool, obj); /* the last byte is zero anyway */
	ck_assert_uint_eq(seen.n, 0);
	ck_assert_uint_eq(asked, 1);
	obj = tide_get(pool);
	obj[63] = 1;
	tide_put(pool, obj);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(asked, 2);
	ck_assert_uint_eq(seen.last.kind, TIDE_DIRTY_RESET);
	ck_assert_ptr_eq(seen.last.obj, obj);
	ck_assert_str_eq(seen.pool, "dirty");
	obj = tide_get(pool);
	ck_assert_msg(is_all(obj, 64, 0), "a dirty object was handed out");
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(with_verifyreset_a_false_used_is_dirty_reset)
{
	struct seen seen = { 0 };
	tide_pool *pool;
	unsigned char *obj;

	setenv("TIDEDEBUG", "verifyreset=1", 1);
	pool = NEW_POOL("dirty", 5000);
	tide_set_misuse_handler(see_report, &seen);
	obj = tide_get(pool);
	memset(obj, 1, 100);
	tide_put_used(pool, obj, 100);
	ck_assert_uint_eq(seen.n, 0);
	obj = tide_get(pool);
	obj[4999] = 1;
	tide_put_used(pool, obj, 100);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.last.kind, TIDE_DIRTY_RESET);
	obj = tide_get(pool);
	ck_assert_msg(is_all(obj, 5000, 0), "a dirty object was handed out");
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

static int
init_leaves_the_last_byte(void *obj, void *ctx)
{
	(void)ctx;
	((char *)obj)[63] = 7;
	return 0;
}

START_TEST(with_verifyreset_what_init_left_beyond_used_is_not_dirty)
{
	struct seen seen = { 0 };
	tide_pool *pool;
	char *obj;

	setenv("TIDEDEBUG", "verifyreset=1", 1);
	pool = NEW_POOL("clean", 64, .init = init_leaves_the_last_byte);
	tide_set_misuse_handler(see_report, &seen);
	obj = tide_get(pool);
	memset(obj, 1, 8);
	tide_put_used(pool, obj, 8);
	ck_assert_msg(seen.n == 0, "%s", seen.text);
	ck_assert_ptr_eq(tide_get(pool), obj);
	ck_assert(is_all(obj, 63, 0) && obj[63] == 7);
	tide_put_used(pool, obj, 0);
	ck_assert_uint_eq(seen.n, 0);
	ck_assert_uint_eq(stats_of(pool).created, 1);
	end_pool(pool);
}
END_TEST

START_TEST(with_verifyreset_a_bulk_get_that_fails_hands_the_earlier_ones_back_clean)
{
	struct seen seen = { 0 };
	void *objs[3];
	tide_pool *pool;

	setenv("TIDEDEBUG", "verifyreset=1", 1);
	pool = NEW_POOL("bulk", 64, .init = init_leaves_the_last_byte, .max_bytes = 128);
	tide_set_misuse_handler(see_report, &seen);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 3), -ENOMEM);
	ck_assert_msg(seen.n == 0, "%s", seen.text);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 2);
	ck_assert_uint_eq(stats_of(pool).released, 0);
	end_pool(pool);
}
END_TEST

START_TEST(without_verifyreset_verify_is_not_asked)
{
	unsigned asked = 0;
	tide_pool *pool = NEW_POOL("quick", 64, .verify = is_zero_64, .ctx = &asked);

	tide_put(pool, tide_get(pool));
	ck_assert_uint_eq(asked, 0);
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		with_verifyreset_an_incomplete_reset_is_dirty_reset,
		with_verifyreset_a_false_used_is_dirty_reset,
		with_verifyreset_what_init_left_beyond_used_is_not_dirty,
		with_verifyreset_a_bulk_get_that_fails_hands_the_earlier_ones_back_clean,
		without_verifyreset_verify_is_not_asked,
	};

	return run_tests("pool_verify", tests, LENGTH(tests));
}
