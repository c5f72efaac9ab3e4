/* SPDX-License-Identifier: MIT */
/*
 * misuse_signal.c - a signal handler that calls tidepool, wherever it interrupts:
 * the call works, or it is refused as TIDE_REENTERED; nothing is corrupt, and
 * nobody waits for a lock that its own thread holds.
 *
 * Where it interrupts is not left to luck on x86-64: the processor's trap flag
 * raises SIGTRAP after each single instruction of a call, so that the handler runs
 * at every point there is. Elsewhere, and beside it, a timer must do.
 */
#include "common.h"

#include <sys/time.h>

#include "signal_tsan.h"
#include "step.h"

#define BYTES 48
#define HELD  3 /* objects that the handler keeps for a while */

#define DEFERS_SIGNALS THREAD_SANITIZED /* TSan hands a signal over when it likes */

static tide_pool *pool, *other;
static volatile unsigned wrong_line;
static volatile unsigned signals, refused, worked, reports, wrong;
static unsigned char *volatile held[HELD];
static volatile unsigned turn;

static void
count_reentered(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	if (report->kind != TIDE_REENTERED || strstr(report->text, "reentered") == NULL)
		wrong++;
	reports++;
}

/* Checks without Check: its macros are not made for signal handlers. */
#define expect(holds) expect_at((holds), __LINE__)

static void
expect_at(bool holds, unsigned line)
{
	if (holds)
		return;
	if (wrong++ == 0)
		wrong_line = line;
}

/* The interrupted call may have left errno, and must find it again. */
static void
get_and_put_in_handler(void)
{
	unsigned before = reports;
	unsigned char **slot = (unsigned char **)(uintptr_t)&held[turn++ % HELD];
	unsigned char *obj;

	if (*slot != NULL) {
		expect(is_all(*slot, BYTES, 0x22));
		tide_put(pool, *slot);
		if (reports != before) {
			refused++; /* it is still ours */
			return;
		}
		*slot = NULL;
	}
	errno = 0;
	obj = tide_get(pool);
	if (obj == NULL) {
		expect(errno == EDEADLK);
		expect(reports == before + 1);
		refused++;
		return;
	}
	expect(reports == before);
	expect(is_all(obj, BYTES, 0));
	memset(obj, 0x22, BYTES);
	*slot = obj;
	worked++;
}

/* Refused as a whole, or it works as a whole. */
static void
create_in_handler(void)
{
	unsigned before = reports;
	tide_pool *made;

	errno = 0;
	made = tide_pool_create(CONFIG("made", 16));
	if (made == NULL) {
		expect(errno == EDEADLK);
		expect(reports == before + 1);
		return;
	}
	tide_put(made, tide_get(made));
	expect(tide_pool_destroy(made) == 0);
	expect(reports == before);
}

/* The calls that take locks, and those by ref, one a signal. */
static void
anything_in_handler(void)
{
	static tide_ref refs[2];
	unsigned before = reports;
	struct tide_pool_stats stats;
	struct tide_stats all;
	void *objs[2], *obj;
	int err;

	switch (signals % 11) {
	case 0:
		tide_thread_flush();
		break;
	case 1:
		tide_pool_stats_read(pool, &stats, sizeof(stats));
		if (reports != before)
			expect(is_all(&stats, sizeof(stats), 0));
		break;
	case 2:
		tide_stats_read(&all, sizeof(all));
		if (reports != before)
			expect(is_all(&all, sizeof(all), 0));
		break;
	case 3:
		expect(tide_pool_find("other") == other || reports == before + 1);
		break;
	case 4:
		err = tide_get_bulk(pool, objs, 2);
		expect(err == 0 || (err == -EDEADLK && reports == before + 1));
		if (err == 0)
			tide_put_bulk(pool, objs, 2);
		break;
	case 5:
		err = tide_pool_reserve(pool, 3);
		expect(err == 0 || (err == -EDEADLK && reports == before + 1));
		break;
	case 6:
		obj = tide_get_ref(pool, &refs[0]);
		expect(obj != NULL ? refs[0] != 0 : refs[0] == 0 && errno == EDEADLK);
		if (obj != NULL && tide_put_ref(pool, refs[0]) == 0)
			expect(!tide_ref_is_live(pool, refs[0]));
		break;
	case 7:
		create_in_handler();
		break;
	case 8:
		obj = tide_get(other);
		tide_put(other, obj);
		break;
	case 9:
		err = tide_stats_format(NULL, 0, TIDE_TEXT);
		expect(err > 0 || (err == -EDEADLK && reports == before + 1));
		break;
	default:
		tide_pool_each(other, NULL, NULL); /* nothing is live in it now */
	}
	if (reports > before)
		refused++;
	else
		worked++;
}

static void (*volatile in_handler)(void);

static void
on_signal(int number)
{
	int saved = errno;

	(void)number;
	signals++;
	in_handler();
	errno = saved;
}

static void
catch_signal(int number)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	ck_assert_int_eq(sigaction(number, &action, NULL), 0);
}

static void
set_up(void (*fn)(void), const char *fake)
{
	setenv("TIDENUMA", fake, 1);
	pool = NEW_POOL("signal", BYTES);
	other = NEW_POOL("other", BYTES);
	in_handler = fn;
	tide_set_misuse_handler(count_reentered, NULL);
}

static void
tear_down(void)
{
	unsigned before = reports;

	for (unsigned i = 0; i < HELD; i++) {
		ck_assert(held[i] == NULL || is_all(held[i], BYTES, 0x22));
		tide_put(pool, held[i]);
	}
	ck_assert_msg(wrong == 0, "%u things were wrong, the first in line %u", wrong, wrong_line);
	ck_assert_uint_eq(reports, before);
	/* An object that was being handed out when the put of another was refused is no loss. */
	end_pool(pool);
	end_pool(other);
}

/* ---- the calls that are interrupted --------------------------------------- */

static unsigned char *mine[70];

static void
get_one(void)
{
	mine[0] = tide_get(pool);
}

static void
put_one(void)
{
	tide_put(pool, mine[0]);
}

static void
use_one(void)
{
	expect(mine[0] != NULL && is_all(mine[0], BYTES, 0));
	memset(mine[0], 0x11, BYTES);
}

static void
used_one(void)
{
	expect(is_all(mine[0], BYTES, 0x11));
}

static void
get_put_many(void)
{
	for (unsigned i = 0; i < LENGTH(mine); i++)
		mine[i] = tide_get(pool);
	for (unsigned i = 0; i < LENGTH(mine); i++) {
		expect(mine[i] != NULL && is_all(mine[i], BYTES, 0));
		memset(mine[i], 0x11, BYTES);
	}
	for (unsigned i = 0; i < LENGTH(mine); i++) {
		expect(is_all(mine[i], BYTES, 0x11));
		tide_put(pool, mine[i]);
	}
}

static void
get_put_other_node(void)
{
	for (unsigned i = 0; i < 20; i++) {
		mine[i] = tide_get_on(pool, i % 2);
		expect(mine[i] != NULL && is_all(mine[i], BYTES, 0));
		memset(mine[i], 0x11, BYTES);
	}
	for (unsigned i = 0; i < 20; i++) {
		expect(is_all(mine[i], BYTES, 0x11));
		if (i % 3)
			tide_put(pool, mine[i]);
		else
			tide_discard(pool, mine[i]);
	}
}

static int
see_one(void *obj, tide_ref ref, void *arg)
{
	(void)arg;
	/* The handler may have put its own meanwhile: it is pinned, so it is all there. */
	expect(is_all(obj, BYTES, 0x11) || is_all(obj, BYTES, 0x22));
	expect(tide_ref_is_live(pool, ref) || is_all(obj, BYTES, 0x22));
	return 0;
}

static bool walks; /* a walk has too many instructions to stop at each */

static void
use_by_ref(void)
{
	tide_ref ref;

	mine[0] = tide_get_ref(pool, &ref);
	use_one();
	expect(tide_pin(pool, ref) == mine[0]);
	if (walks)
		expect(tide_pool_each(pool, see_one, NULL) >= 1);
	expect(tide_put_ref(pool, ref) == 0);
	expect(is_all(mine[0], BYTES, 0x11));
	tide_unpin(pool, mine[0]);
	expect(tide_pin(pool, ref) == NULL && errno == ESTALE);
}

static void
bulk_and_flush(void)
{
	void *objs[50];
	struct tide_pool_stats stats;

	expect(tide_get_bulk(pool, objs, 50) == 0);
	for (unsigned i = 0; i < 50; i++)
		memset(objs[i], 0x11, BYTES);
	tide_put_bulk(pool, objs, 50);
	tide_thread_flush();
	tide_pool_stats_read(pool, &stats, sizeof(stats));
	expect(tide_pool_find("signal") == pool);
}

/* ---- at every instruction ------------------------------------------------- */

/* The interrupted call must be one that nothing may be inlined into. */
static void (*volatile stepped)(void);

static void
step_through(void (*fn)(void))
{
	stepped = fn;
	catch_signal(SIGTRAP);
	set_trap_flag();
	stepped();
	clear_trap_flag();
}

static void
step_through_pairs(void (*fn)(void))
{
	set_up(fn, "off");
	for (unsigned round = 0; round < 20; round++) {
		step_through(get_one);
		use_one();
		used_one();
		step_through(put_one);
	}
}

START_TEST(at_every_instruction_of_a_hit_get_and_put_work_or_are_refused)
{
	step_through_pairs(get_and_put_in_handler);
	if (CAN_STEP) {
		ck_assert_uint_gt(refused, 50);
		ck_assert_uint_gt(worked, 50);
	}
	tear_down();
}
END_TEST

START_TEST(at_every_instruction_of_a_hit_every_call_works_or_is_refused)
{
	step_through_pairs(anything_in_handler);
	if (CAN_STEP)
		ck_assert_uint_gt(refused, 50);
	tear_down();
}
END_TEST

static void
step_through_twice(void (*fn)(void), void (*handler)(void))
{
	set_up(handler, "fake=2");
	step_through(fn);
	step_through(fn);
	if (CAN_STEP)
		ck_assert_uint_gt(refused, 100);
	tear_down();
}

START_TEST(at_every_instruction_of_many_gets_and_puts_get_and_put_work_or_are_refused)
{
	step_through_twice(get_put_many, get_and_put_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_get_on_and_discard_get_and_put_work_or_are_refused)
{
	step_through_twice(get_put_other_node, get_and_put_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_use_by_ref_get_and_put_work_or_are_refused)
{
	step_through_twice(use_by_ref, get_and_put_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_bulk_and_flush_get_and_put_work_or_are_refused)
{
	step_through_twice(bulk_and_flush, get_and_put_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_many_gets_and_puts_every_call_works_or_is_refused)
{
	step_through_twice(get_put_many, anything_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_get_on_and_discard_every_call_works_or_is_refused)
{
	step_through_twice(get_put_other_node, anything_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_use_by_ref_every_call_works_or_is_refused)
{
	step_through_twice(use_by_ref, anything_in_handler);
}
END_TEST

START_TEST(at_every_instruction_of_bulk_and_flush_every_call_works_or_is_refused)
{
	step_through_twice(bulk_and_flush, anything_in_handler);
}
END_TEST

static void
create_and_destroy(void)
{
	tide_pool *third = tide_pool_create(CONFIG("third", 64));

	expect(third != NULL);
	tide_put(third, tide_get(third));
	expect(tide_pool_destroy(third) == 0);
}

START_TEST(at_every_instruction_of_create_and_destroy_get_and_put_work_or_are_refused)
{
	set_up(get_and_put_in_handler, "off");
	for (unsigned round = 0; round < 2; round++)
		step_through(create_and_destroy);
	tear_down();
}
END_TEST

/* ---- the calls that come before there is a pool ---------------------------- */

static void
init_in_handler(void)
{
	unsigned before = reports;
	int err = tide_init();

	expect(err == 0 || (err == -EDEADLK && reports == before + 1));
	*(err == 0 ? &worked : &refused) += 1;
}

static void
set_handler_in_handler(void)
{
	unsigned before = reports;

	tide_set_misuse_handler(count_reentered, NULL);
	expect(reports <= before + 1);
	*(reports == before ? &worked : &refused) += 1;
}

/* Of millions: when the topology is being read, with the lock held. */
#define STEPS_BEFORE 10000
#define STEPS_USED   3000

static volatile unsigned first_steps;

static void
on_first_steps(int number, siginfo_t *info, void *context)
{
	(void)info;
	if (++first_steps > STEPS_BEFORE)
		on_signal(number);
	if (first_steps == STEPS_BEFORE + STEPS_USED)
		stop_stepping(context);
}

static volatile int init_result = 1;

static void
init_once(void)
{
	init_result = tide_init();
}

/* Who waits for a lock of its own thread waits for ever: then the alarm ends it. */
START_TEST(an_init_that_a_handler_interrupts_with_an_init_goes_on)
{
	struct sigaction action = { .sa_sigaction = on_first_steps,
				    .sa_flags = SA_RESTART | SA_SIGINFO };

	alarm(60);
	tide_set_misuse_handler(count_reentered, NULL);
	in_handler = init_in_handler;
	stepped = init_once;
	ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
	set_trap_flag();
	stepped();
	clear_trap_flag();
	ck_assert_int_eq(init_result, 0);
	if (CAN_STEP)
		ck_assert_uint_eq(refused, STEPS_USED);
	ck_assert_msg(wrong == 0, "%u things were wrong, the first in line %u", wrong, wrong_line);
	ck_assert_int_eq(tide_init(), 0);
	end_pool(NEW_POOL("first", BYTES));
}
END_TEST

static void
set_handler(void)
{
	tide_set_misuse_handler(count_reentered, NULL);
}

START_TEST(at_every_instruction_of_a_change_of_handler_another_works_or_is_refused)
{
	alarm(60);
	set_up(set_handler_in_handler, "off");
	for (unsigned round = 0; round < 20; round++)
		step_through(set_handler);
	if (CAN_STEP) {
		ck_assert_uint_gt(refused, 20);
		ck_assert_uint_gt(worked, 20);
	}
	tear_down();
}
END_TEST

/* ---- now and then --------------------------------------------------------- */

static void
interrupt_by_timer(void (*fn)(void))
{
	const struct itimerval often = { { 0, 200 }, { 0, 200 } };

	set_up(fn, "fake=2");
	walks = true;
	catch_signal(SIGALRM);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
	/* Until it happened often enough; if it never does, Check ends the test. */
	while (DEFERS_SIGNALS ? signals < 500 : refused < 100) {
		get_put_many();
		get_put_other_node();
		bulk_and_flush();
		use_by_ref();
	}
	ck_assert_int_eq(setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL), 0);
	tear_down();
}

START_TEST(a_timer_that_gets_and_puts_is_served_or_refused)
{
	interrupt_by_timer(get_and_put_in_handler);
}
END_TEST

START_TEST(a_timer_that_does_anything_is_served_or_refused)
{
	interrupt_by_timer(anything_in_handler);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		at_every_instruction_of_a_hit_get_and_put_work_or_are_refused,
		at_every_instruction_of_a_hit_every_call_works_or_is_refused,
		at_every_instruction_of_many_gets_and_puts_get_and_put_work_or_are_refused,
		at_every_instruction_of_get_on_and_discard_get_and_put_work_or_are_refused,
		at_every_instruction_of_use_by_ref_get_and_put_work_or_are_refused,
		at_every_instruction_of_bulk_and_flush_get_and_put_work_or_are_refused,
		at_every_instruction_of_many_gets_and_puts_every_call_works_or_is_refused,
		at_every_instruction_of_get_on_and_discard_every_call_works_or_is_refused,
		at_every_instruction_of_use_by_ref_every_call_works_or_is_refused,
		at_every_instruction_of_bulk_and_flush_every_call_works_or_is_refused,
		at_every_instruction_of_create_and_destroy_get_and_put_work_or_are_refused,
		an_init_that_a_handler_interrupts_with_an_init_goes_on,
		at_every_instruction_of_a_change_of_handler_another_works_or_is_refused,
		a_timer_that_gets_and_puts_is_served_or_refused,
		a_timer_that_does_anything_is_served_or_refused,
	};

	return run_tests("misuse_signal", tests, LENGTH(tests));
}
