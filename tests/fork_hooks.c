/* SPDX-License-Identifier: MIT */
/*
 * Forks while other threads have an object in hand in each of the hooks: in the child
 * it is live for ever, or was never made, and its fini does not run. And the same out
 * of a hook of the thread that forks, which goes on with its own in parent and child.
 */
#include "fork.h"

#include <semaphore.h>

/* ---- what they had in hand ------------------------------------------------ */

enum hook { IN_INIT, IN_RESET, IN_FINI, IN_VERIFY, IN_DISCARD, IN_UNPIN, HOOKS };

static _Atomic int held_in = -1;    /* in this hook other threads wait */
static __thread bool is_other;      /* one of them */
static sem_t arrived, released_sem; /* and say so, until they may go on */
static _Atomic unsigned inits, finis, resets;
static void (*in_own_hook)(void); /* called in the next hook of the main thread */

static void
wait_in(enum hook hook)
{
	if (is_other && (int)hook == atomic_load(&held_in)) {
		sem_post(&arrived);
		while (sem_wait(&released_sem) != 0)
			;
	} else if (!is_other && in_own_hook != NULL) {
		void (*fn)(void) = in_own_hook;

		in_own_hook = NULL;
		fn();
	}
}

static int
init_waits(void *obj, void *ctx)
{
	(void)ctx;
	memset(obj, 0x11, 16);
	wait_in(IN_INIT);
	atomic_fetch_add(&inits, 1);
	return 0;
}

static int
reset_waits(void *obj, size_t used, void *ctx)
{
	(void)obj;
	(void)used;
	(void)ctx;
	wait_in(IN_RESET);
	atomic_fetch_add(&resets, 1);
	return 0;
}

static void
fini_waits(void *obj, void *ctx)
{
	(void)ctx;
	wait_in(IN_FINI);
	/* Once only: the bytes are zero after it, and init makes others. */
	if (!is_all(obj, 16, 0x11))
		abort();
	memset(obj, 0, 16);
	atomic_fetch_add(&finis, 1);
}

static bool
verify_waits(const void *obj, void *ctx)
{
	(void)obj;
	(void)ctx;
	wait_in(IN_VERIFY);
	return true;
}

static tide_pool *hook_pool;
static enum hook hook_wanted;

static void *
be_held(void *arg)
{
	tide_ref ref;
	void *obj, *again;

	(void)arg;
	is_other = true;
	obj = tide_get_ref(hook_pool, &ref);
	switch (hook_wanted) {
	case IN_UNPIN:
		again = tide_pin(hook_pool, ref);
		tide_put(hook_pool, obj);
		tide_unpin(hook_pool, again);
		break;
	case IN_FINI:
	case IN_DISCARD:
		tide_discard(hook_pool, obj);
		break;
	default:
		tide_put(hook_pool, obj);
	}
	return NULL;
}

#define OTHERS 3u

static void
check_child_of_hooks(uint64_t idle)
{
	uint64_t live = hook_wanted == IN_INIT ? 0 : OTHERS;
	unsigned finis_before = atomic_load(&finis);
	unsigned reports = 0;
	void *objs[OTHERS];

	check_child_pool(hook_pool, live, idle);
	/* Slots whose object was being made are there again, and zero. */
	CHILD_CHECK(tide_get_bulk(hook_pool, objs, OTHERS) == 0);
	for (unsigned i = 0; i < OTHERS; i++)
		CHILD_CHECK(is_all((char *)objs[i] + 16, 16, 0) && is_all(objs[i], 16, 0x11));
	tide_put_bulk(hook_pool, objs, OTHERS);
	tide_thread_flush();
	CHILD_CHECK(tide_check() == 0);
	idle = stats_of(hook_pool).idle_objects;
	tide_set_misuse_handler(ignore_report, &reports);
	if (live > 0) {
		CHILD_CHECK(tide_pool_destroy(hook_pool) == -EBUSY);
		CHILD_CHECK(atomic_load(&finis) == finis_before);
	} else {
		CHILD_CHECK(tide_pool_destroy(hook_pool) == 0);
		CHILD_CHECK(atomic_load(&finis) == finis_before + idle);
	}
	_exit(0);
}

static pid_t own_child;

static void
fork_and_note(void)
{
	own_child = fork_child();
}

static void
hold_others(enum hook hook, pthread_t *threads)
{
	hook_wanted = hook;
	atomic_store(&held_in, hook == IN_DISCARD ? IN_FINI
			       : hook == IN_UNPIN ? IN_RESET
						  : (int)hook);
	sem_init(&arrived, 0, 0);
	sem_init(&released_sem, 0, 0);
	setenv("TIDENUMA", "fake=4", 1);
	if (hook == IN_VERIFY)
		setenv("TIDEDEBUG", "verifyreset=1", 1);
	hook_pool = NEW_POOL("held", 64, .init = init_waits, .reset = reset_waits,
			     .fini = fini_waits, .verify = verify_waits);
	for (unsigned i = 0; i < OTHERS; i++)
		threads[i] = start(be_held, NULL);
	for (unsigned i = 0; i < OTHERS; i++)
		while (sem_wait(&arrived) != 0)
			;
}

static void
let_others_go(pthread_t *threads)
{
	for (unsigned i = 0; i < OTHERS; i++)
		sem_post(&released_sem);
	for (unsigned i = 0; i < OTHERS; i++)
		pthread_join(threads[i], NULL);
	end_pool(hook_pool);
	ck_assert_uint_eq(atomic_load(&inits), atomic_load(&finis));
}

START_TEST(an_object_in_a_hook_of_a_thread_that_is_gone_is_live_or_never_was)
{
	pthread_t threads[OTHERS];
	pid_t pid;

	hold_others((enum hook)_i, threads);
	pid = fork_child();
	if (pid == 0)
		check_child_of_hooks(0);
	wait_for(pid);
	let_others_go(threads);
}
END_TEST

/* The same, while the thread that forks is in a hook too, and goes on with its own. */
START_TEST(a_fork_out_of_a_hook_keeps_what_its_thread_has_in_hand)
{
	pthread_t threads[OTHERS];
	uint64_t idle = 0;
	void *obj;

	hold_others((enum hook)(_i / 3), threads);
	in_own_hook = _i % 3 == 0 ? fork_and_note : NULL;
	obj = tide_get(hook_pool);
	if (_i % 3 == 0 && own_child == 0)
		CHILD_CHECK(obj != NULL && is_all(obj, 16, 0x11));
	if (_i % 3 != 0)
		in_own_hook = fork_and_note;
	if (_i % 3 == 2) {
		tide_discard(hook_pool, obj);
	} else {
		tide_put(hook_pool, obj);
		idle = 1;
	}
	if (own_child == 0)
		check_child_of_hooks(idle);
	wait_for(own_child);
	let_others_go(threads);
}
END_TEST

/* ---- main ----------------------------------------------------------------- */

int
main(void)
{
	Suite *suite = suite_create("fork_hooks");
	TCase *tcase = tcase_create("fork_hooks");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(
		tcase, an_object_in_a_hook_of_a_thread_that_is_gone_is_live_or_never_was, 0, HOOKS);
	tcase_add_loop_test(tcase, a_fork_out_of_a_hook_keeps_what_its_thread_has_in_hand, 0,
			    3 * HOOKS);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
