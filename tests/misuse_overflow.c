/* SPDX-License-Identifier: MIT */
/* misuse_overflow.c - `used` beyond the object is refused by pointer and by ref. */
#include "misuse.h"

START_TEST(used_beyond_the_object_is_overflow)
{
	static const size_t used[] = { BYTES + 1, 112, 4096, SIZE_MAX / 2 + 1, SIZE_MAX };

	set_up();
	for (size_t i = 0; i < LENGTH(used); i++) {
		unsigned n = seen.n;

		tide_put_used(pool, obj, used[i]);
		ck_assert_uint_eq(seen.n, n + 1);
		ck_assert_uint_eq(seen.last.kind, TIDE_OVERFLOW);
		ck_assert_ptr_eq(seen.last.obj, obj);
		ck_assert_uint_eq(seen.last.ref, ref);
		ck_assert_int_eq(tide_put_ref_used(pool, ref, used[i]), -EINVAL);
		ck_assert_uint_eq(seen.n, n + 2);
		ck_assert_uint_eq(seen.last.kind, TIDE_OVERFLOW);
		ck_assert_ptr_eq(seen.last.obj, obj);
		/* While pinned, though all bytes would be reset then. */
		ck_assert_ptr_eq(tide_pin(pool, ref), obj);
		tide_put_used(pool, obj, used[i]);
		ck_assert_int_eq(tide_put_ref_used(pool, ref, used[i]), -EINVAL);
		ck_assert_uint_eq(seen.n, n + 4);
		tide_unpin(pool, obj);
	}
	ck_assert_uint_eq(stats_of(pool).puts, 0);
	tear_down();
}
END_TEST

START_TEST(used_beyond_the_object_is_overflow_at_any_size)
{
	static const size_t sizes[] = { 1, 8, 64, 128, 129, 4096, 100000 };

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		struct seen sized_seen = { 0 };
		tide_pool *sized = NEW_POOL("sized", sizes[i]);
		void *one = tide_get(sized);

		tide_set_misuse_handler(see_report, &sized_seen);
		tide_put_used(sized, one, sizes[i] + 1);
		ck_assert_uint_eq(sized_seen.n, 1);
		ck_assert_uint_eq(sized_seen.last.kind, TIDE_OVERFLOW);
		tide_put_used(sized, one, sizes[i]);
		ck_assert_uint_eq(sized_seen.n, 1);
		end_pool(sized);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		used_beyond_the_object_is_overflow,
		used_beyond_the_object_is_overflow_at_any_size,
	};

	return run_tests("misuse_overflow", tests, LENGTH(tests));
}
