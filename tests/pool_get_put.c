/* SPDX-License-Identifier: MIT */
/* pool_get_put.c - objects come out pristine, go back reset, in bulk and one by one; E holds. */
#include "common.h"

#define MANY 600 /* more than two magazines hold */

static void
get_many(tide_pool *pool, void **objs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		objs[i] = tide_get(pool);
		ck_assert_ptr_nonnull(objs[i]);
	}
}

static void
put_many(tide_pool *pool, void **objs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		tide_put(pool, objs[i]);
}

/* A, for many sizes: whatever was written is not there the next time. */
START_TEST(a_get_after_puts_returns_zero_bytes)
{
	static const size_t sizes[] = { 1, 7, 8, 64, 100, 128, 129, 500, 4096, 40000, 100000 };

	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *pool = NEW_POOL("zero", sizes[s]);
		void *objs[MANY];
		size_t n = sizes[s] < 4096 ? MANY : 20;

		for (unsigned round = 0; round < 3; round++) {
			get_many(pool, objs, n);
			for (size_t i = 0; i < n; i++) {
				ck_assert_msg(is_all(objs[i], sizes[s], 0), "of %zu", sizes[s]);
				memset(objs[i], 0xa5, sizes[s]);
			}
			put_many(pool, objs, n);
		}
		end_pool(pool);
	}
}
END_TEST

/* The wipe is told not to be optimised away; that its effect is that of zero is tested. */
START_TEST(reset_wipe_leaves_zero_bytes)
{
	static const size_t sizes[] = { 1, 16, 100, 129, 5000 };

	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *pool = NEW_POOL("wipe", sizes[s], .reset = tide_reset_wipe);

		for (unsigned round = 0; round < 100; round++) {
			void *obj = tide_get(pool);

			ck_assert_ptr_nonnull(obj);
			ck_assert(is_all(obj, sizes[s], 0));
			memset(obj, 0xa5, sizes[s]);
			if (round % 2)
				tide_put(pool, obj);
			else
				tide_put_used(pool, obj, sizes[s]);
		}
		end_pool(pool);
	}
}
END_TEST

START_TEST(the_ready_made_resets_clear_used_bytes_and_no_more)
{
	static tide_reset_fn *const resets[] = { tide_reset_zero, tide_reset_wipe };

	for (size_t r = 0; r < LENGTH(resets); r++) {
		for (size_t used = 0; used <= 300; used++) {
			unsigned char bytes[301];

			memset(bytes, 0xa5, sizeof(bytes));
			ck_assert_int_eq(resets[r](bytes, used, NULL), 0);
			ck_assert(is_all(bytes, used, 0));
			ck_assert(is_all(bytes + used, sizeof(bytes) - used, 0xa5));
		}
	}
}
END_TEST

START_TEST(put_used_clears_what_was_dirtied)
{
	static const size_t sizes[] = { 1, 64, 128, 129, 300, 5000 };

	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *pool = NEW_POOL("used", sizes[s]);

		for (size_t used = 0; used <= sizes[s]; used += 1 + used / 20) {
			void *obj = tide_get(pool);

			ck_assert_ptr_nonnull(obj);
			ck_assert_msg(is_all(obj, sizes[s], 0), "%zu of %zu", used, sizes[s]);
			memset(obj, 0xa5, used);
			tide_put_used(pool, obj, used);
		}
		end_pool(pool);
	}
}
END_TEST

struct used_seen {
	unsigned resets;
	size_t used;
};

static int
note_used(void *obj, size_t used, void *ctx)
{
	struct used_seen *seen = ctx;

	seen->resets++;
	seen->used = used;
	memset(obj, 0, used);
	return 0;
}

START_TEST(reset_is_told_what_was_used)
{
	struct used_seen seen = { 0 };
	tide_pool *pool = NEW_POOL("used", 500, .reset = note_used, .ctx = &seen);

	tide_put(pool, tide_get(pool));
	ck_assert_uint_eq(seen.used, 500);
	tide_put_used(pool, tide_get(pool), 17);
	ck_assert_uint_eq(seen.used, 17);
	tide_put_used(pool, tide_get(pool), 0);
	ck_assert_uint_eq(seen.used, 0);
	tide_put_used(pool, tide_get(pool), 500);
	ck_assert_uint_eq(seen.used, 500);
	ck_assert_uint_eq(seen.resets, 4);
	end_pool(pool);
}
END_TEST

START_TEST(an_object_that_is_reset_by_its_own_hook_comes_out_as_it_left_it)
{
	struct used_seen seen = { 0 };
	tide_pool *pool = NEW_POOL("mine", 64, .reset = note_used, .ctx = &seen);
	char *obj = tide_get(pool);

	strcpy(obj + 32, "kept"); /* past what the reset is told to clear */
	strcpy(obj, "lost");
	tide_put_used(pool, obj, 32);
	ck_assert_ptr_eq(tide_get(pool), obj);
	ck_assert_str_eq(obj, "");
	ck_assert_str_eq(obj + 32, "kept");
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(null_is_nothing_to_do)
{
	tide_pool *pool = NEW_POOL("null", 64);
	void *const nulls[3] = { NULL };

	tide_put(pool, NULL);
	tide_put_used(pool, NULL, 1000);
	tide_discard(pool, NULL);
	tide_unpin(pool, NULL);
	tide_put_bulk(pool, nulls, 3);
	tide_put_bulk(pool, NULL, 0);
	ck_assert_int_eq(tide_get_bulk(pool, NULL, 0), 0);
	ck_assert_uint_eq(stats_of(pool).gets + stats_of(pool).puts, 0);
	ck_assert_int_eq(tide_pool_destroy(NULL), -EINVAL);
	end_pool(pool);
}
END_TEST

/* A reset that spoils errno, as any that calls libc may. */
static int
spoil_errno(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	errno = ENOTTY;
	return used == 13; /* broken */
}

static void
fini_spoils_errno(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	errno = ENOTDIR;
}

START_TEST(puts_keep_errno)
{
	struct seen seen = { 0 };
	tide_pool *pool = NEW_POOL("errno", 64, .reset = spoil_errno, .fini = fini_spoils_errno);
	void *objs[MANY];
	tide_ref ref;
	void *obj;

	tide_set_misuse_handler(see_report, &seen);
	get_many(pool, objs, MANY);
	errno = EDOM;
	for (size_t i = 0; i < MANY; i++) {
		tide_put(pool, objs[i]);
		ck_assert_int_eq(errno, EDOM);
	}
	obj = tide_get(pool);
	errno = EDOM;
	tide_put_used(pool, obj, 13); /* broken: fini */
	ck_assert_int_eq(errno, EDOM);
	tide_put(pool, obj); /* reported */
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_int_eq(errno, EDOM);
	get_many(pool, objs, 3);
	errno = EDOM;
	tide_put_bulk(pool, objs, 3);
	ck_assert_int_eq(errno, EDOM);
	obj = tide_get(pool);
	errno = EDOM;
	tide_discard(pool, obj);
	ck_assert_int_eq(errno, EDOM);
	obj = tide_get_ref(pool, &ref);
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	errno = EDOM;
	tide_put(pool, obj);
	tide_unpin(pool, obj); /* the last one: reset runs here */
	ck_assert_int_eq(errno, EDOM);
	end_pool(pool);
}
END_TEST

START_TEST(discard_lets_go_and_what_was_there_is_not_seen_again)
{
	tide_pool *pool = NEW_POOL("discard", 300);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 200; i++) {
		unsigned char *obj = tide_get(pool);

		ck_assert_ptr_nonnull(obj);
		ck_assert(is_all(obj, 300, 0));
		memset(obj, 0xa5, 300);
		tide_discard(pool, obj);
	}
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.discards, 200);
	ck_assert_uint_eq(stats.created, 200);
	ck_assert_uint_eq(stats.released, 200);
	ck_assert_uint_eq(stats.puts, 0);
	ck_assert_uint_eq(stats.idle_objects, 0);
	end_pool(pool);
}
END_TEST

START_TEST(live_objects_are_all_different)
{
	tide_pool *pool = NEW_POOL("apart", 8);
	static void *objs[20000];

	for (unsigned round = 0; round < 2; round++) {
		get_many(pool, objs, LENGTH(objs));
		for (size_t i = 0; i < LENGTH(objs); i++)
			memcpy(objs[i], &i, sizeof(i));
		for (size_t i = 0; i < LENGTH(objs); i++)
			ck_assert_int_eq(memcmp(objs[i], &i, sizeof(i)), 0);
		put_many(pool, objs, LENGTH(objs));
		check_pool(pool);
	}
	ck_assert_uint_eq(stats_of(pool).created, LENGTH(objs)); /* the second time it reuses */
	end_pool(pool);
}
END_TEST

/* ---- bulk ----------------------------------------------------------------- */

START_TEST(bulk_gets_and_puts_what_one_by_one_would)
{
	tide_pool *pool = NEW_POOL("bulk", 100);
	static void *objs[3000];

	for (size_t n = 1; n <= LENGTH(objs); n = n * 3 + 1) {
		memset(objs, 0, sizeof(objs));
		ck_assert_int_eq(tide_get_bulk(pool, objs, n), 0);
		for (size_t i = 0; i < n; i++) {
			ck_assert_ptr_nonnull(objs[i]);
			ck_assert(is_all(objs[i], 100, 0));
			memcpy(objs[i], &i, sizeof(i));
		}
		for (size_t i = 0; i < n; i++)
			ck_assert_int_eq(memcmp(objs[i], &i, sizeof(i)), 0);
		ck_assert_uint_eq(stats_of(pool).live_objects, n);
		tide_put_bulk(pool, objs, n);
		check_pool(pool);
	}
	end_pool(pool);
}
END_TEST

START_TEST(a_bulk_get_is_all_or_nothing)
{
	tide_pool *pool = NEW_POOL("cap", 100, .max_bytes = 10000);
	void *objs[101];
	void *one;

	ck_assert_int_eq(tide_get_bulk(pool, objs, 101), -ENOMEM);
	ck_assert_uint_eq(stats_of(pool).live_objects, 0);
	check_pool(pool);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 100), 0);
	ck_assert_ptr_null(tide_get(pool));
	tide_put_bulk(pool, objs, 100);
	one = tide_get(pool);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 100), -ENOMEM);
	ck_assert_uint_eq(stats_of(pool).live_objects, 1);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 99), 0);
	tide_put(pool, one);
	tide_put_bulk(pool, objs, 99);
	end_pool(pool);
}
END_TEST

START_TEST(a_bad_element_of_a_bulk_put_is_refused_alone_and_null_is_skipped)
{
	tide_pool *pool = NEW_POOL("bulk", 64);
	tide_pool *other = NEW_POOL("other", 64);
	struct seen seen = { 0 };
	void *theirs = tide_get(other);
	char local;
	void *objs[8];

	tide_set_misuse_handler(see_report, &seen);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 8), 0);
	tide_put(pool, objs[2]);
	/* good, NULL, double, foreign, good, other's, good twice */
	void *bad[] = {
		objs[0], NULL, objs[2], &local, objs[1], theirs, objs[3], objs[3], objs[4]
	};

	tide_put_bulk(pool, bad, LENGTH(bad));
	ck_assert_uint_eq(seen.n, 4);
	ck_assert_uint_eq(stats_of(pool).live_objects, 3);
	ck_assert_uint_eq(stats_of(other).live_objects, 1);
	tide_put_bulk(pool, objs + 5, 3);
	ck_assert_uint_eq(seen.n, 4);
	tide_put(other, theirs);
	end_pool(pool);
	end_pool(other);
}
END_TEST

/* ---- destroy -------------------------------------------------------------- */

START_TEST(destroy_with_live_objects_is_ebusy_and_a_leak_report)
{
	tide_pool *pool = NEW_POOL("leaky", 64);
	struct seen seen = { 0 };
	void *objs[5];

	get_many(pool, objs, 5);
	tide_set_misuse_handler(see_report, &seen);
	ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.last.kind, TIDE_LEAK);
	ck_assert_str_eq(seen.pool, "leaky");
	ck_assert_ptr_nonnull(strstr(seen.text, "leak"));
	ck_assert_ptr_nonnull(strstr(seen.text, "5"));
	put_many(pool, objs, 4);
	ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
	ck_assert_uint_eq(seen.n, 2);
	tide_put(pool, objs[4]);
	end_pool(pool);
}
END_TEST

START_TEST(a_leak_never_aborts_and_prints_one_line)
{
	tide_pool *pool = NEW_POOL("leaky", 64);
	struct capture capture;
	const char *text;
	void *obj = tide_get(pool);

	capture_start(&capture);
	ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
	text = capture_end(&capture);
	ck_assert(is_one_line(text));
	ck_assert_ptr_eq(strstr(text, "tidepool: leak: pool 'leaky'"), text);
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(after_a_refused_destroy_the_pool_is_as_good_as_before)
{
	tide_pool *pool = NEW_POOL("leaky", 64);
	struct seen seen = { 0 };
	void *objs[MANY];
	void *kept;

	tide_set_misuse_handler(see_report, &seen);
	get_many(pool, objs, MANY);
	kept = objs[0];
	put_many(pool, objs + 1, MANY - 1);
	for (unsigned round = 0; round < 3; round++) {
		memset(kept, 0x5a, 64);
		ck_assert_int_eq(tide_pool_destroy(pool), -EBUSY);
		ck_assert(is_all(kept, 64, 0x5a));
		ck_assert_ptr_eq(tide_pool_find("leaky"), pool);
		ck_assert_str_eq(tide_pool_name(pool), "leaky");
		get_many(pool, objs, MANY);
		for (size_t i = 0; i < MANY; i++) {
			ck_assert_ptr_ne(objs[i], kept);
			ck_assert(is_all(objs[i], 64, 0));
		}
		put_many(pool, objs, MANY);
		check_pool(pool);
	}
	tide_put(pool, kept);
	end_pool(pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_get_after_puts_returns_zero_bytes,
		reset_wipe_leaves_zero_bytes,
		the_ready_made_resets_clear_used_bytes_and_no_more,
		put_used_clears_what_was_dirtied,
		reset_is_told_what_was_used,
		an_object_that_is_reset_by_its_own_hook_comes_out_as_it_left_it,
		null_is_nothing_to_do,
		puts_keep_errno,
		discard_lets_go_and_what_was_there_is_not_seen_again,
		live_objects_are_all_different,
		bulk_gets_and_puts_what_one_by_one_would,
		a_bulk_get_is_all_or_nothing,
		a_bad_element_of_a_bulk_put_is_refused_alone_and_null_is_skipped,
		destroy_with_live_objects_is_ebusy_and_a_leak_report,
		a_leak_never_aborts_and_prints_one_line,
		after_a_refused_destroy_the_pool_is_as_good_as_before,
	};

	return run_tests("pool_get_put", tests, LENGTH(tests));
}
