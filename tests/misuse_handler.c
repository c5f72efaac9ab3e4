/* SPDX-License-Identifier: MIT */
/* misuse_handler.c - the handler of reports: which one is called, and what it may do. */
#include "misuse.h"

#include <sys/wait.h>

START_TEST(kinds_have_names)
{
	static const char *const names[] = { "unknown",     "double put", "foreign put",
					     "wrong pool",  "bad unpin",  "overflow",
					     "dirty reset", "reentered",  "leak" };

	for (uint32_t kind = 0; kind < LENGTH(names); kind++)
		ck_assert_str_eq(tide_misuse_name(kind), names[kind]);
	ck_assert_str_eq(tide_misuse_name(9), "unknown");
	ck_assert_str_eq(tide_misuse_name(UINT32_MAX), "unknown");
}
END_TEST

static void
use_tidepool(const struct tide_misuse_report *report, void *arg)
{
	tide_ref one_ref;
	void *one = tide_get_ref(pool, &one_ref);

	ck_assert_ptr_nonnull(one);
	ck_assert_ptr_eq(tide_pin(pool, one_ref), one);
	tide_put(pool, one);
	tide_unpin(pool, one);
	(void)stats_of(other);
	tide_thread_flush();
	ck_assert_ptr_eq(tide_pool_find("mine"), pool);
	ck_assert_int_gt(tide_stats_format(NULL, 0, TIDE_TEXT), 0);
	see_report(report, arg);
}

START_TEST(the_handler_may_use_tidepool)
{
	char *theirs;

	set_up();
	theirs = tide_get(other);
	tide_set_misuse_handler(use_tidepool, &seen);
	tide_put(pool, obj + 1);
	tide_put(pool, theirs);
	tide_unpin(pool, obj);
	tide_put_used(pool, obj, 1000);
	ck_assert_int_eq(tide_pool_destroy(other), -EBUSY);
	ck_assert_uint_eq(seen.n, 5);
	tide_put(other, theirs);
	tear_down();
}
END_TEST

START_TEST(the_last_handler_set_is_called_with_its_arg)
{
	struct seen second = { 0 };

	set_up();
	tide_put(pool, obj + 1);
	tide_set_misuse_handler(see_report, &second);
	tide_put(pool, obj + 1);
	tide_put(pool, obj + 1);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(second.n, 2);
	tide_set_misuse_handler(see_report, &seen);
	tear_down();
}
END_TEST

/* NULL restores print and abort: a child of ours does it. */
START_TEST(without_a_handler_again_the_process_aborts)
{
	int status;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct capture capture;

		set_up();
		tide_put(pool, obj + 1);
		tide_set_misuse_handler(NULL, NULL);
		capture_start(&capture);
		tide_put(pool, obj + 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		kinds_have_names,
		the_handler_may_use_tidepool,
		the_last_handler_set_is_called_with_its_arg,
		without_a_handler_again_the_process_aborts,
	};

	return run_tests("misuse_handler", tests, LENGTH(tests));
}
