/* SPDX-License-Identifier: MIT */
/*
 * misuse_refused.c - each misuse, with a handler that returns: it was reported in
 * full, the call was refused, nothing changed, the object still works. How the
 * same calls end a process that has no handler is in crash_*.c.
 */
#include "common.h"

#include <sys/wait.h>

static struct seen seen;
static tide_pool *pool, *other;
static unsigned char *obj; /* one live object of the pool, full of 0x5a */
static tide_ref ref;       /* its ref */

#define BYTES 100 /* in slots of 112: there is a gap between two objects */

static void
set_up(void)
{
	pool = NEW_POOL("mine", BYTES, .align_bytes = 16);
	other = NEW_POOL("other", BYTES, .align_bytes = 16);
	obj = tide_get_ref(pool, &ref);
	ck_assert_ptr_nonnull(obj);
	memset(obj, 0x5a, BYTES);
	tide_set_misuse_handler(see_report, &seen);
}

/* The object is as before, is its owner's, and can be put; the next get is clean. */
static void
tear_down(void)
{
	unsigned reports = seen.n;

	ck_assert(is_all(obj, BYTES, 0x5a));
	ck_assert(tide_ref_is_live(pool, ref));
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_unpin(pool, obj);
	ck_assert_int_eq(tide_put_ref(pool, ref), 0);
	obj = tide_get(pool);
	ck_assert(is_all(obj, BYTES, 0));
	tide_put(pool, obj);
	ck_assert_uint_eq(seen.n, reports);
	end_pool(pool);
	end_pool(other);
}

enum call { PUT, PUT_USED, DISCARD, PUT_BULK, UNPIN, CALLS };

static void
call(enum call which, tide_pool *on, void *bad)
{
	switch (which) {
	case PUT:
		tide_put(on, bad);
		break;
	case PUT_USED:
		tide_put_used(on, bad, 10);
		break;
	case DISCARD:
		tide_discard(on, bad);
		break;
	case PUT_BULK:
		tide_put_bulk(on, &bad, 1);
		break;
	default:
		tide_unpin(on, bad);
	}
}

/* One more report than before, of this kind, whole; and the counters say nothing happened. */
static void
expect_report(enum call which, tide_pool *on, void *bad, uint32_t kind)
{
	struct tide_pool_stats before = stats_of(on), after;
	unsigned n = seen.n;
	char start_of_text[128];

	snprintf(start_of_text, sizeof(start_of_text), "tidepool: %s: pool '%s', object %#llx",
		 tide_misuse_name(kind), tide_pool_name(on), (unsigned long long)(uintptr_t)bad);
	errno = EDOM;
	call(which, on, bad);
	ck_assert_int_eq(errno, EDOM);
	ck_assert_msg(seen.n == n + 1, "%u reports of call %d", seen.n - n, (int)which);
	ck_assert_uint_eq(seen.last.report_bytes, sizeof(struct tide_misuse_report));
	ck_assert_msg(seen.last.kind == kind, "%s", seen.text);
	ck_assert_ptr_eq(seen.last.obj, bad);
	ck_assert_str_eq(seen.pool, tide_pool_name(on));
	ck_assert_msg(strncmp(seen.text, start_of_text, strlen(start_of_text)) == 0, "%s",
		      seen.text);
	ck_assert_ptr_null(strchr(seen.text, '\n'));
	after = stats_of(on);
	ck_assert_int_eq(memcmp(&before, &after, sizeof(before)), 0);
}

/* ---- foreign -------------------------------------------------------------- */

static void
expect_foreign(void *bad)
{
	for (enum call which = PUT; which < CALLS; which++) {
		expect_report(which, pool, bad, which == UNPIN ? TIDE_BAD_UNPIN : TIDE_FOREIGN_PUT);
		ck_assert_uint_eq(seen.last.ref, 0);
	}
	ck_assert_uint_eq(tide_ref_of(pool, bad), 0);
	ck_assert_int_eq(tide_check(), 0);
}

START_TEST(pointers_to_other_memory_are_foreign)
{
	static char of_the_program[64];
	char on_the_stack[64];
	char *block = malloc(100000);
	void *mapping =
		mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set_up();
	expect_foreign(on_the_stack);
	expect_foreign(of_the_program);
	expect_foreign(block);
	expect_foreign(mapping);
	expect_foreign(pool); /* the library's own records */
	expect_foreign((void *)(uintptr_t)&tide_get);
	expect_foreign(&errno);
	free(block);
	munmap(mapping, 65536);
	expect_foreign(mapping);
	tear_down();
}
END_TEST

START_TEST(pointers_into_or_past_an_object_are_foreign)
{
	set_up();
	for (unsigned i = 1; i < 112; i++)
		expect_foreign(obj + i);
	expect_foreign(obj - 1);
	expect_foreign(obj + 112); /* a slot that nobody was given yet */
	expect_foreign(obj + 112 + 1);
	tear_down();
}
END_TEST

START_TEST(pointers_that_nothing_is_mapped_at_are_foreign_and_never_read)
{
	static const uintptr_t addresses[] = { 1,
					       15,
					       4095,
					       4096,
					       0x7ffffffff000,
					       0x800000000000,
					       0x123456789abcdef0,
					       0xffff800000000000,
					       0xffffffff80000000,
					       0xffffffffff600000,
					       UINTPTR_MAX - 15,
					       UINTPTR_MAX };

	set_up();
	for (size_t i = 0; i < LENGTH(addresses); i++)
		expect_foreign((void *)addresses[i]);
	/* Reserved beside the objects, and not open. */
	for (unsigned shift = 20; shift < 40; shift++) {
		expect_foreign(obj + (UINT64_C(1) << shift));
		if ((uintptr_t)obj > UINT64_C(1) << shift)
			expect_foreign(obj - (UINT64_C(1) << shift));
	}
	tear_down();
}
END_TEST

START_TEST(the_addresses_of_a_released_slab_are_foreign)
{
	static const size_t sizes[] = { 64, 5000, 200000 };

	set_up();
	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *gone = NEW_POOL("gone", sizes[s], .flags = 0);
		void *objs[50];

		ck_assert_int_eq(tide_get_bulk(gone, objs, 50), 0);
		tide_put_bulk(gone, objs, 50);
		ck_assert_int_eq(tide_pool_destroy(gone), 0);
		for (unsigned i = 0; i < 50; i += 7)
			expect_foreign(objs[i]);
	}
	tear_down();
}
END_TEST

/* ---- wrong pool ----------------------------------------------------------- */

static void
expect_wrong_pool(void *theirs, const char *owner)
{
	for (enum call which = PUT; which < CALLS; which++) {
		expect_report(which, pool, theirs, TIDE_WRONG_POOL);
		ck_assert_msg(strstr(seen.text, owner) != NULL, "%s", seen.text);
	}
}

START_TEST(an_object_of_another_pool_is_wrong_pool)
{
	tide_ref theirs_ref;
	char *theirs;

	set_up();
	theirs = tide_get_ref(other, &theirs_ref);
	memset(theirs, 0x33, BYTES);
	expect_wrong_pool(theirs, "'other'");
	ck_assert_uint_eq(seen.last.ref, theirs_ref);
	ck_assert(is_all(theirs, BYTES, 0x33));
	ck_assert(tide_ref_is_live(other, theirs_ref));
	ck_assert_int_eq(tide_put_ref(pool, theirs_ref), -ESTALE); /* no misuse by ref */
	tide_put(other, theirs);
	ck_assert(!tide_ref_is_live(other, theirs_ref));
	tear_down();
}
END_TEST

START_TEST(an_object_of_a_pool_of_another_size_is_wrong_pool)
{
	static const size_t sizes[] = { 8, 64, 4096, 100000, 3 * MIB };

	set_up();
	for (size_t s = 0; s < LENGTH(sizes); s++) {
		tide_pool *sized = NEW_POOL("sized", sizes[s], .flags = 0);
		void *theirs = tide_get(sized);

		expect_wrong_pool(theirs, "'sized'");
		tide_put(sized, theirs);
		end_pool(sized);
	}
	tear_down();
}
END_TEST

/* ---- double put ----------------------------------------------------------- */

static void
expect_double(void *bad, tide_ref last)
{
	for (enum call which = PUT; which < UNPIN; which++) {
		expect_report(which, pool, bad, TIDE_DOUBLE_PUT);
		ck_assert_uint_eq(seen.last.ref, last);
		ck_assert_ptr_nonnull(strstr(seen.text, ", generation "));
	}
	expect_report(UNPIN, pool, bad, TIDE_BAD_UNPIN);
	ck_assert_uint_eq(tide_ref_of(pool, bad), 0);
}

START_TEST(a_second_put_before_the_slot_is_handed_out_again_is_refused)
{
	void *twice;
	tide_ref last;

	set_up();
	for (unsigned how = 0; how < 5; how++) {
		twice = tide_get_ref(pool, &last);
		if (how == 0)
			tide_put(pool, twice);
		else if (how == 1)
			tide_put_used(pool, twice, 0);
		else if (how == 2)
			ck_assert_int_eq(tide_put_ref(pool, last), 0);
		else if (how == 3)
			tide_put_bulk(pool, &twice, 1);
		else
			tide_discard(pool, twice);
		expect_double(twice, last);
		tide_thread_flush(); /* in a depot, it is put all the same */
		expect_double(twice, last);
		check_pool(pool);
	}
	tear_down();
}
END_TEST

static void *
put_it(void *arg)
{
	tide_put(pool, arg);
	return NULL;
}

START_TEST(a_second_put_by_another_thread_is_refused)
{
	void *twice;
	tide_ref last;

	set_up();
	twice = tide_get_ref(pool, &last);
	run_thread(put_it, twice);
	ck_assert_uint_eq(seen.n, 0);
	expect_double(twice, last);
	twice = tide_get_ref(pool, &last);
	tide_put(pool, twice);
	run_thread(put_it, twice);
	ck_assert_uint_eq(seen.last.kind, TIDE_DOUBLE_PUT);
	tear_down();
}
END_TEST

START_TEST(a_second_put_of_an_object_that_is_still_pinned_is_refused)
{
	unsigned char *pinned;
	tide_ref last;

	set_up();
	for (unsigned discards = 0; discards < 2; discards++) {
		pinned = tide_get_ref(pool, &last);
		ck_assert_ptr_eq(tide_pin(pool, last), pinned);
		memset(pinned, 0x77, BYTES);
		call(discards ? DISCARD : PUT, pool, pinned);
		for (enum call which = PUT; which < UNPIN; which++)
			expect_report(which, pool, pinned, TIDE_DOUBLE_PUT);
		ck_assert(is_all(pinned, BYTES, 0x77));
		tide_unpin(pool, pinned);
		expect_double(pinned, last);
	}
	tear_down();
}
END_TEST

static _Atomic(void *) contested;
static pthread_barrier_t barrier;
static _Atomic unsigned refused;

static void
count_refused(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	ck_assert_uint_eq(report->kind, TIDE_DOUBLE_PUT);
	refused++;
}

static void *
race(void *arg)
{
	for (unsigned i = 0; i < ROUNDS(3000); i++) {
		pthread_barrier_wait(&barrier);
		call((enum call)((i + (uintptr_t)arg) % UNPIN), pool, contested);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

START_TEST(of_racing_puts_exactly_one_succeeds)
{
	enum { RACERS = 3 };
	pthread_t threads[RACERS];
	struct tide_pool_stats stats;
	unsigned char *raced;

	set_up();
	tide_set_misuse_handler(count_refused, NULL);
	pthread_barrier_init(&barrier, NULL, RACERS + 1);
	for (uintptr_t i = 0; i < RACERS; i++)
		threads[i] = start(race, (void *)i);
	for (unsigned i = 0; i < ROUNDS(3000); i++) {
		raced = tide_get(pool);
		ck_assert_ptr_nonnull(raced);
		ck_assert(is_all(raced, BYTES, 0));
		raced[5] = 1; /* one of the calls is a put_used of 10 */
		contested = raced;
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		ck_assert_uint_eq(refused, (RACERS - 1) * (i + 1));
	}
	for (unsigned i = 0; i < RACERS; i++)
		pthread_join(threads[i], NULL);
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.puts + stats.discards, ROUNDS(3000));
	tear_down();
}
END_TEST

/* ---- what only refs catch ------------------------------------------------- */

START_TEST(a_stale_pointer_put_after_reissue_is_not_told_by_pointer_but_by_ref)
{
	tide_ref old_ref, new_ref;
	char *old, *new;

	set_up();
	/* By ref: refused, and the next owner keeps its object. */
	old = tide_get_ref(pool, &old_ref);
	tide_put(pool, old);
	new = tide_get_ref(pool, &new_ref);
	ck_assert_ptr_eq(new, old);
	ck_assert_uint_ne(new_ref, old_ref);
	strcpy(new, "the next client's");
	ck_assert_int_eq(tide_put_ref(pool, old_ref), -ESTALE);
	ck_assert_ptr_null(tide_pin(pool, old_ref));
	ck_assert_str_eq(new, "the next client's");
	ck_assert(tide_ref_is_live(pool, new_ref));
	/* By pointer: it cannot be told from the next owner's put. */
	tide_put(pool, old);
	ck_assert_uint_eq(seen.n, 0);
	ck_assert(!tide_ref_is_live(pool, new_ref));
	ck_assert_str_eq(new, ""); /* it lost its object */
	/* And it is the rightful owner's put that is reported. */
	expect_double(new, new_ref);
	tear_down();
}
END_TEST

/* ---- unpin ---------------------------------------------------------------- */

START_TEST(an_unpin_without_a_pin_is_refused)
{
	set_up();
	expect_report(UNPIN, pool, obj, TIDE_BAD_UNPIN);
	ck_assert_uint_eq(seen.last.ref, ref);
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_unpin(pool, obj);
	expect_report(UNPIN, pool, obj, TIDE_BAD_UNPIN);
	tear_down();
}
END_TEST

/* ---- used ----------------------------------------------------------------- */

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
		tide_pool *sized = NEW_POOL("sized", sizes[i], .flags = 0);
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

/* ---- the handler ---------------------------------------------------------- */

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

/* ---- quarantine ----------------------------------------------------------- */

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

static _Atomic unsigned inits, finis;

static int
count_init(void *made, void *ctx)
{
	(void)made, (void)ctx;
	inits++;
	return 0;
}

static void
count_fini(void *gone, void *ctx)
{
	(void)gone, (void)ctx;
	finis++;
}

START_TEST(objects_in_quarantine_are_idle_and_finalized_by_destroy)
{
	void *objs[150];

	setenv("TIDEDEBUG", "quarantine=100", 1);
	pool = NEW_POOL("mine", 64, .init = count_init, .fini = count_fini);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 150), 0);
	tide_put_bulk(pool, objs, 150);
	ck_assert_uint_eq(stats_of(pool).idle_objects, 150);
	end_pool(pool);
	ck_assert_uint_eq(inits, 150);
	ck_assert_uint_eq(finis, 150);
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
		pointers_to_other_memory_are_foreign,
		pointers_into_or_past_an_object_are_foreign,
		pointers_that_nothing_is_mapped_at_are_foreign_and_never_read,
		the_addresses_of_a_released_slab_are_foreign,
		an_object_of_another_pool_is_wrong_pool,
		an_object_of_a_pool_of_another_size_is_wrong_pool,
		a_second_put_before_the_slot_is_handed_out_again_is_refused,
		a_second_put_by_another_thread_is_refused,
		a_second_put_of_an_object_that_is_still_pinned_is_refused,
		of_racing_puts_exactly_one_succeeds,
		a_stale_pointer_put_after_reissue_is_not_told_by_pointer_but_by_ref,
		an_unpin_without_a_pin_is_refused,
		used_beyond_the_object_is_overflow,
		used_beyond_the_object_is_overflow_at_any_size,
		kinds_have_names,
		the_handler_may_use_tidepool,
		the_last_handler_set_is_called_with_its_arg,
		without_a_handler_again_the_process_aborts,
		quarantine_delays_reuse_by_n_puts,
		with_quarantine_a_stale_pointer_is_caught_within_n_puts,
		objects_in_quarantine_are_idle_and_finalized_by_destroy,
		a_cap_is_worth_more_than_the_quarantine,
	};

	return run_tests("misuse_refused", tests, LENGTH(tests));
}
