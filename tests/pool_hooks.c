/* SPDX-License-Identifier: MIT */
/* pool_hooks.c - init, reset and fini: when they run, how often, and what they may do. */
#include "common.h"

/* An object that owns something, as a ZSTD_CCtx does: init and fini must match. */
struct thing {
	uint32_t magic; /* THING between init and fini */
	uint32_t lives;
	void *owned;
	char text[112];
};

#define THING 0x7417a6u

struct hooks {
	_Atomic unsigned inits, resets, finis;
	unsigned fail_init_from; /* inits beyond so many fail with fail_error */
	int fail_error;
	_Atomic bool fail_reset;
	_Atomic unsigned wrong; /* a hook saw an object it should not have */
};

static int
init_thing(void *obj, void *ctx)
{
	struct hooks *hooks = ctx;
	struct thing *thing = obj;

	if (!is_all(obj, sizeof(*thing), 0))
		hooks->wrong++;
	if (hooks->fail_init_from != 0 && hooks->inits >= hooks->fail_init_from) {
		memset(obj, 0xa5, sizeof(*thing)); /* half made; nobody may see this */
		return hooks->fail_error;
	}
	thing->owned = malloc(8);
	thing->magic = THING;
	hooks->inits++;
	return 0;
}

static int
reset_thing(void *obj, size_t used, void *ctx)
{
	struct hooks *hooks = ctx;
	struct thing *thing = obj;

	(void)used;
	if (thing->magic != THING)
		hooks->wrong++;
	hooks->resets++;
	if (hooks->fail_reset)
		return -EIO;
	memset(thing->text, 0, sizeof(thing->text));
	thing->lives++;
	return 0;
}

static void
fini_thing(void *obj, void *ctx)
{
	struct hooks *hooks = ctx;
	struct thing *thing = obj;

	if (thing->magic != THING)
		hooks->wrong++;
	thing->magic = 0;
	free(thing->owned);
	hooks->finis++;
}

#define THING_POOL(hooks, ...)                                                                     \
	NEW_POOL("things", sizeof(struct thing), .init = init_thing, .reset = reset_thing,         \
		 .fini = fini_thing, .ctx = (hooks), __VA_ARGS__)

static struct thing *
get_thing(tide_pool *pool)
{
	struct thing *thing = tide_get(pool);

	ck_assert_ptr_nonnull(thing);
	ck_assert_uint_eq(thing->magic, THING);
	ck_assert(is_all(thing->text, sizeof(thing->text), 0));
	memset(thing->text, 0x5a, sizeof(thing->text));
	return thing;
}

static void
end_things(tide_pool *pool, struct hooks *hooks)
{
	end_pool(pool);
	ck_assert_uint_eq(hooks->inits, hooks->finis);
	ck_assert_uint_eq(hooks->wrong, 0);
}

START_TEST(creating_and_destroying_an_empty_pool_runs_no_hook)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);

	ck_assert_int_eq(tide_pool_reserve(pool, 1000), 0);
	end_things(pool, &hooks);
	ck_assert_uint_eq(hooks.inits + hooks.resets + hooks.finis, 0);
}
END_TEST

START_TEST(init_runs_on_zero_bytes_at_the_first_hand_out_only)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);
	struct thing *things[500];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 500; i++) {
			things[i] = get_thing(pool);
			if (round == 0)
				ck_assert_uint_eq(hooks.inits, i + 1);
			ck_assert_uint_eq(things[i]->lives, round);
		}
		for (unsigned i = 0; i < 500; i++)
			tide_put(pool, things[i]);
	}
	ck_assert_uint_eq(hooks.inits, 500);
	ck_assert_uint_eq(hooks.resets, 1500);
	ck_assert_uint_eq(hooks.finis, 0);
	end_things(pool, &hooks);
	ck_assert_uint_eq(hooks.finis, 500);
}
END_TEST

START_TEST(init_runs_again_on_zero_bytes_after_a_fini)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);

	for (unsigned i = 1; i <= 100; i++) {
		struct thing *thing = get_thing(pool);

		ck_assert_uint_eq(thing->lives, 0);
		tide_discard(pool, thing);
		ck_assert_uint_eq(hooks.inits, i);
		ck_assert_uint_eq(hooks.finis, i);
	}
	ck_assert_uint_eq(hooks.resets, 0);
	end_things(pool, &hooks);
}
END_TEST

START_TEST(the_error_of_init_is_the_errno_of_the_get)
{
	static const int errors[] = { -EIO, -ENOSPC, -ENOMEM, -EPROTO };
	struct hooks hooks = { .fail_init_from = 10 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);
	struct thing *things[10];
	tide_ref ref = 1;

	for (unsigned i = 0; i < 10; i++)
		things[i] = get_thing(pool);
	for (size_t i = 0; i < LENGTH(errors); i++) {
		hooks.fail_error = errors[i];
		errno = 0;
		ck_assert_ptr_null(tide_get(pool));
		ck_assert_int_eq(errno, -errors[i]);
		ck_assert_ptr_null(tide_get_ref(pool, &ref));
		ck_assert_int_eq(errno, -errors[i]);
		ck_assert_uint_eq(ref, 0);
		ck_assert_ptr_null(tide_get_on(pool, 0));
		ck_assert_int_eq(errno, -errors[i]);
		check_pool(pool);
	}
	ck_assert_uint_eq(stats_of(pool).failed_gets, 3 * LENGTH(errors));
	tide_put(pool, things[9]);
	things[9] = get_thing(pool); /* an idle one needs no init */
	hooks.fail_init_from = 0;
	tide_put(pool, get_thing(pool)); /* init saw zero bytes: wrong is 0 */
	for (unsigned i = 0; i < 10; i++)
		tide_put(pool, things[i]);
	end_things(pool, &hooks);
}
END_TEST

START_TEST(a_bulk_get_that_fails_in_init_hands_the_earlier_ones_back)
{
	struct hooks hooks = { .fail_init_from = 300, .fail_error = -EPROTO };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);
	void *objs[400];

	ck_assert_int_eq(tide_get_bulk(pool, objs, 301), -EPROTO);
	check_pool(pool);
	ck_assert_uint_eq(stats_of(pool).live_objects, 0);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 300);
	ck_assert_uint_eq(hooks.finis, 0);
	ck_assert_uint_eq(hooks.resets, 300);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 300), 0);
	tide_put_bulk(pool, objs, 300);
	end_things(pool, &hooks);
}
END_TEST

START_TEST(an_object_whose_reset_fails_is_finalized_and_let_go)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);
	struct thing *thing = get_thing(pool);
	struct thing *other = get_thing(pool);
	tide_ref ref;

	hooks.fail_reset = true;
	tide_put(pool, thing);
	ck_assert_uint_eq(hooks.finis, 1);
	ck_assert_int_eq(tide_pool_destroy(NULL), -EINVAL);
	void *both[] = { other };

	tide_put_bulk(pool, both, 1);
	ck_assert_uint_eq(hooks.finis, 2);
	tide_get_ref(pool, &ref);
	ck_assert_int_eq(tide_put_ref(pool, ref), 0);
	ck_assert_uint_eq(hooks.finis, 3);
	ck_assert_uint_eq(stats_of(pool).broken, 3);
	ck_assert_uint_eq(stats_of(pool).released, 3);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 0);
	hooks.fail_reset = false;
	tide_put(pool, get_thing(pool));
	ck_assert_uint_eq(hooks.inits, 4);
	end_things(pool, &hooks);
}
END_TEST

START_TEST(destroy_finalizes_each_idle_object_once_wherever_it_is)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);
	void *objs[1000];

	ck_assert_int_eq(tide_get_bulk(pool, objs, 1000), 0);
	tide_put_bulk(pool, objs, 700);
	tide_thread_flush(); /* in depots */
	for (unsigned i = 700; i < 1000; i++)
		tide_put(pool, objs[i]); /* in this thread's cache */
	ck_assert_uint_eq(hooks.finis, 0);
	end_things(pool, &hooks);
	ck_assert_uint_eq(hooks.finis, 1000);
}
END_TEST

static void *
churn(void *arg)
{
	struct thing *things[50];

	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < LENGTH(things); i++)
			things[i] = get_thing(arg);
		for (unsigned i = 0; i < LENGTH(things); i++) {
			if (i == round)
				tide_discard(arg, things[i]);
			else
				tide_put(arg, things[i]);
		}
	}
	return NULL;
}

START_TEST(objects_are_finalized_once_whatever_threads_came_and_went)
{
	struct hooks hooks = { 0 };
	tide_pool *pool = THING_POOL(&hooks, .flags = 0);

	for (unsigned i = 0; i < 20; i++) {
		pthread_t thread = start(churn, pool);

		if (i % 2)
			tide_put(pool, get_thing(pool));
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
	end_things(pool, &hooks);
}
END_TEST

/* ---- hooks that call tidepool --------------------------------------------- */

static tide_pool *self_pool, *other_pool;
static _Atomic unsigned nested; /* a hook inside a hook does not nest any further */
static unsigned hook_calls;

static void
use_both_pools(void)
{
	tide_ref ref;
	void *obj, *bulk[3];

	if (nested++ == 0) {
		hook_calls++;
		for (unsigned i = 0; i < 2; i++) {
			tide_pool *pool = i ? self_pool : other_pool;

			obj = tide_get_ref(pool, &ref);
			ck_assert_ptr_nonnull(obj);
			ck_assert_ptr_eq(tide_pin(pool, ref), obj);
			tide_put(pool, obj);
			tide_unpin(pool, obj);
			ck_assert_int_eq(tide_get_bulk(pool, bulk, 3), 0);
			tide_discard(pool, bulk[0]);
			tide_put_bulk(pool, bulk + 1, 2);
			(void)stats_of(pool);
		}
		tide_thread_flush();
		ck_assert_ptr_eq(tide_pool_find("self"), self_pool);
		ck_assert_int_gt(tide_stats_format(NULL, 0, TIDE_JSON), 0);
	}
	nested--;
}

static int
init_calls(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	use_both_pools();
	return 0;
}

static int
reset_calls(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	use_both_pools();
	return 0;
}

static bool destroying;

static void
fini_calls(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	if (!destroying)
		use_both_pools();
}

START_TEST(hooks_may_use_this_pool_and_another_one)
{
	void *objs[300];

	other_pool = NEW_POOL("other", 64);
	self_pool =
		NEW_POOL("self", 64, .init = init_calls, .reset = reset_calls, .fini = fini_calls);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 300; i++) {
			objs[i] = tide_get(self_pool);
			ck_assert_ptr_nonnull(objs[i]);
			ck_assert(is_all(objs[i], 64, 0));
			memset(objs[i], 0x5a, 64);
		}
		for (unsigned i = 0; i < 300; i++) {
			ck_assert(is_all(objs[i], 64, 0x5a));
			if (i % 3)
				tide_put(self_pool, objs[i]);
			else
				tide_discard(self_pool, objs[i]);
		}
		check_pool(self_pool);
	}
	ck_assert_uint_gt(hook_calls, 1000);
	destroying = true;
	end_pool(self_pool);
	end_pool(other_pool);
}
END_TEST

static int fini_get_errno;
static void *fini_got;

static void
fini_gets(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	errno = 0;
	fini_got = tide_get(self_pool);
	fini_get_errno = errno;
	ck_assert_ptr_nonnull(tide_pool_name(self_pool));
	tide_put(other_pool, tide_get(other_pool));
}

START_TEST(a_get_from_a_hook_of_a_pool_being_destroyed_is_eshutdown)
{
	other_pool = NEW_POOL("other", 64);
	self_pool = NEW_POOL("self", 64, .fini = fini_gets);
	tide_put(self_pool, tide_get(self_pool));
	ck_assert_int_eq(tide_pool_destroy(self_pool), 0);
	ck_assert_ptr_null(fini_got);
	ck_assert_int_eq(fini_get_errno, ESHUTDOWN);
	end_pool(other_pool);
}
END_TEST

/* Its index is not free before the last fini, or the get would find the new pool's cache. */
static void
fini_creates_and_gets(void *obj, void *ctx)
{
	tide_pool *instead;
	void *theirs;

	(void)obj, (void)ctx;
	instead = NEW_POOL("instead", 64);
	theirs = tide_get(instead);
	tide_put(instead, theirs);
	errno = 0;
	fini_got = tide_get(self_pool);
	fini_get_errno = errno;
	ck_assert_uint_eq(stats_of(instead).gets, 1);
	end_pool(instead);
}

START_TEST(a_get_from_a_hook_is_eshutdown_though_another_pool_was_created_meanwhile)
{
	self_pool = NEW_POOL("self", 64, .fini = fini_creates_and_gets);
	tide_put(self_pool, tide_get(self_pool));
	ck_assert_int_eq(tide_pool_destroy(self_pool), 0);
	ck_assert_ptr_null(fini_got);
	ck_assert_int_eq(fini_get_errno, ESHUTDOWN);
}
END_TEST

static int init_destroy_result, fini_destroy_result;
static unsigned finis;

static int
init_destroys(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	init_destroy_result = tide_pool_destroy(self_pool);
	return 0;
}

static void
fini_destroys(void *obj, void *ctx)
{
	(void)obj, (void)ctx;
	if (finis++ == 0)
		fini_destroy_result = tide_pool_destroy(self_pool);
}

START_TEST(destroy_from_an_init_or_fini_of_the_same_pool_is_ebusy_without_a_report)
{
	struct seen seen = { 0 };

	tide_set_misuse_handler(see_report, &seen);
	self_pool = NEW_POOL("self", 64, .init = init_destroys, .fini = fini_destroys);
	for (unsigned discards = 0; discards < 2; discards++) {
		void *obj = tide_get(self_pool);

		ck_assert_ptr_nonnull(obj);
		ck_assert_int_eq(init_destroy_result, -EBUSY);
		check_pool(self_pool);
		finis = discards ? 0 : 1;
		tide_discard(self_pool, obj);
		check_pool(self_pool);
	}
	ck_assert_int_eq(fini_destroy_result, -EBUSY);
	/* From a destroy that is under way, too. */
	tide_put(self_pool, tide_get(self_pool));
	finis = 0;
	fini_destroy_result = 0;
	ck_assert_int_eq(tide_pool_destroy(self_pool), 0);
	ck_assert_uint_eq(finis, 1);
	ck_assert_int_eq(fini_destroy_result, -EBUSY);
	ck_assert_uint_eq(seen.n, 0);
	ck_assert_int_eq(tide_check(), 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		creating_and_destroying_an_empty_pool_runs_no_hook,
		init_runs_on_zero_bytes_at_the_first_hand_out_only,
		init_runs_again_on_zero_bytes_after_a_fini,
		the_error_of_init_is_the_errno_of_the_get,
		a_bulk_get_that_fails_in_init_hands_the_earlier_ones_back,
		an_object_whose_reset_fails_is_finalized_and_let_go,
		destroy_finalizes_each_idle_object_once_wherever_it_is,
		objects_are_finalized_once_whatever_threads_came_and_went,
		hooks_may_use_this_pool_and_another_one,
		a_get_from_a_hook_of_a_pool_being_destroyed_is_eshutdown,
		a_get_from_a_hook_is_eshutdown_though_another_pool_was_created_meanwhile,
		destroy_from_an_init_or_fini_of_the_same_pool_is_ebusy_without_a_report,
	};

	return run_tests("pool_hooks", tests, LENGTH(tests));
}
