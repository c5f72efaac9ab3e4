/* SPDX-License-Identifier: MIT */
/*
 * misuse_held_up.c - a put of a stale pointer that is held up, after any one of its
 * instructions, while the slab goes and its addresses are cut anew: by its own pool a
 * granule further on, and by another pool where it began. The word that was looked
 * at is another pool's then, while the granule names the same pool as before.
 *
 * Whatever the put does to its own pool, where the address may have a new owner from
 * which it cannot be told, it ends no life of the other pool.
 *
 * The put is stepped through by the trap flag: skipped where that cannot be used. Each
 * instruction gets a process of its own, as the addresses must fall into place.
 */
#include "common.h"

#include <sys/wait.h>

#include "step.h"

#define LARGE     2048 /* 512 slots are 16 granules of 64 KiB */
#define SLOTS     512
#define NEXT_OBJS 1200 /* more than two slabs */
#define SMALL     64
#define SMALLS    64
#define STALE     40  /* in the second granule of the first slab */
#define LAST      300 /* keeps the slab until the put is held up */
#define STEPS     160 /* then it has done what it does, or is writing a report */

/* Exit statuses; a failed check's is another. */
enum outcome { CARRIED_OUT = 10, REFUSED, ENDED, WRONG };

static struct seen seen;
static tide_pool *large, *small, *fence;
static void *olds[3 * SLOTS], *nexts[NEXT_OBJS], *smalls[SMALLS];
static int orders[2], answers[2];
static volatile unsigned step, wanted;
static bool was_recut; /* the stale address has a new owner, at another slot's place */

/*
 * The large pool's first slab, with one live object; the granule behind it is the
 * fence's. Of empty slabs one is kept: the second. An object of the third is in this
 * thread's cache, so that a put finds room in it.
 */
static void
prepare(void)
{
	large = NEW_POOL("large", LARGE);
	small = NEW_POOL("small", SMALL);
	fence = NEW_POOL("fence", SMALL);
	for (unsigned i = 0; i < SLOTS; i++)
		olds[i] = tide_get(large);
	tide_discard(fence, tide_get(fence));
	for (unsigned i = SLOTS; i < 3 * SLOTS; i++)
		olds[i] = tide_get(large);
	for (unsigned i = SLOTS; i < 3 * SLOTS - 1; i++)
		tide_discard(large, olds[i]);
	tide_thread_flush();
	tide_put(large, olds[3 * SLOTS - 1]);
	for (unsigned i = 0; i < SLOTS; i++)
		if (i != LAST)
			tide_discard(large, olds[i]);
}

/* Another thread's: the one that is held up may be inside its cache. */
static void *
take_the_slab_away(void *arg)
{
	char order;

	(void)arg;
	if (read(orders[0], &order, 1) != 1)
		return NULL;
	tide_discard(large, olds[LAST]);
	for (unsigned i = 0; i < SMALLS; i++)
		smalls[i] = tide_get(small);
	tide_pool_destroy(fence);
	for (unsigned i = 0; i < NEXT_OBJS; i++) {
		nexts[i] = tide_get(large);
		was_recut |= nexts[i] == olds[STALE];
	}
	if (write(answers[1], "", 1) != 1)
		_exit(WRONG);
	return NULL;
}

static void
on_trap(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	char answer;

	(void)number, (void)info;
	if (++step == wanted) {
		if (write(orders[1], "", 1) != 1 || read(answers[0], &answer, 1) != 1)
			_exit(WRONG);
		stop_stepping(context);
	}
	errno = saved;
}

static void
put_plain(void *obj)
{
	tide_put_used(large, obj, 64);
}

static void
put_hooked(void *obj)
{
	tide_put(large, obj);
}

static void
put_slow(void *obj)
{
	tide_discard(large, obj);
}

/* The small pool has all its objects; the large one all but the one that was put, if any. */
static void
expect_nothing_else_changed(unsigned refusals)
{
	unsigned gone = 0;

	for (unsigned i = 0; i < SMALLS; i++)
		tide_put(small, smalls[i]);
	ck_assert_msg(seen.n == refusals, "step %u: a life of another pool was ended: %s", wanted,
		      seen.text);
	for (unsigned i = 0; i < NEXT_OBJS; i++)
		gone += tide_ref_of(large, nexts[i]) == 0;
	ck_assert_uint_eq(gone, 1 - refusals);
	ck_assert_uint_eq(stats_of(small).puts, SMALLS);
	ck_assert_uint_eq(stats_of(large).live_objects, NEXT_OBJS - gone);
	ck_assert_int_eq(tide_check(), 0);
}

static enum outcome
hold_up(void (*volatile put)(void *), unsigned at)
{
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
	pthread_t thread;
	bool was_held_up;

	alarm(60);
	tide_set_misuse_handler(see_report, &seen);
	ck_assert_int_eq(pipe(orders), 0);
	ck_assert_int_eq(pipe(answers), 0);
	ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
	prepare();
	put(NULL); /* its symbols are resolved, which takes many steps */
	thread = start(take_the_slab_away, NULL);
	wanted = at;
	set_trap_flag();
	put(olds[STALE]);
	clear_trap_flag();
	was_held_up = step >= wanted;
	close(orders[1]);
	pthread_join(thread, NULL);
	if (!was_held_up)
		return ENDED;
	ck_assert(was_recut);
	ck_assert_uint_le(seen.n, 1);
	expect_nothing_else_changed(seen.n);
	return seen.n == 0 ? CARRIED_OUT : REFUSED;
}

/* Check's own forks are for tests; a failure in this one has printed what it was. */
static enum outcome
hold_up_in_child(void (*put)(void *), unsigned at)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0)
		_exit((int)hold_up(put, at));
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status), "step %u: signal %d", at, WTERMSIG(status));
	ck_assert_msg(WEXITSTATUS(status) >= CARRIED_OUT && WEXITSTATUS(status) < WRONG,
		      "step %u: exit status %d", at, WEXITSTATUS(status));
	return (enum outcome)WEXITSTATUS(status);
}

static void
hold_up_everywhere(void (*put)(void *))
{
	unsigned carried_out = 0;

	if (!CAN_STEP)
		return;
	ck_assert_int_eq(tide_init(), 0);
	for (unsigned at = 1; at <= STEPS; at += SANITIZED ? 5 : 1)
		carried_out += hold_up_in_child(put, at) == CARRIED_OUT;
	/* Where it looked at nothing before, or looks again, it is the new owner's put. */
	ck_assert_uint_gt(carried_out, 0);
}

START_TEST(a_plain_put_that_is_held_up_ends_no_life_of_another_pool)
{
	hold_up_everywhere(put_plain);
}
END_TEST

START_TEST(a_put_with_much_to_clear_that_is_held_up_ends_no_life_of_another_pool)
{
	hold_up_everywhere(put_hooked);
}
END_TEST

START_TEST(a_put_on_the_slow_path_that_is_held_up_ends_no_life_of_another_pool)
{
	hold_up_everywhere(put_slow);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_plain_put_that_is_held_up_ends_no_life_of_another_pool,
		a_put_with_much_to_clear_that_is_held_up_ends_no_life_of_another_pool,
		a_put_on_the_slow_path_that_is_held_up_ends_no_life_of_another_pool,
	};

	if (!CAN_STEP) {
		puts("skipped: no trap flag that could be used");
		return 77;
	}
	return run_tests("misuse_held_up", tests, LENGTH(tests));
}
