/* SPDX-License-Identifier: MIT */
/*
 * misuse_double.c - a life or a pin that is over is not ended again, and what of
 * this a pointer cannot tell, a ref can.
 */
#include "misuse.h"

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
	/* It lost its object; AddressSanitizer would report the look itself. */
	if (!ADDRESS_SANITIZED)
		ck_assert_str_eq(new, "");
	/* And it is the rightful owner's put that is reported. */
	expect_double(new, new_ref);
	tear_down();
}
END_TEST

/* ---- what nothing catches ---------------------------------------------------- */

/* Idle objects may be poisoned for ASan, which would end the test in its first write. */
START_TEST(a_write_through_a_stale_pointer_is_never_told_and_goes_with_the_next_put)
{
	unsigned char *stale, *new;
	tide_ref old_ref, new_ref;

	if (ADDRESS_SANITIZED)
		return;
	set_up();
	stale = tide_get_ref(pool, &old_ref);
	tide_put(pool, stale);
	stale[7] = 0x77; /* idle */
	new = tide_get_ref(pool, &new_ref);
	ck_assert_ptr_eq(new, stale);
	ck_assert_uint_eq(new[7], 0x77); /* the next owner can read it */
	stale[8] = 0x88;                 /* and this is the next owner's object */
	ck_assert_uint_eq(new[8], 0x88);
	/* No write can touch the slot's word: lives stay told apart. */
	memset(stale, 0xff, BYTES);
	ck_assert(!tide_ref_is_live(pool, old_ref));
	ck_assert_int_eq(tide_put_ref(pool, old_ref), -ESTALE);
	ck_assert_int_eq(tide_put_ref(pool, new_ref), 0);
	ck_assert_uint_eq(seen.n, 0);
	new = tide_get(pool);
	ck_assert_ptr_eq(new, stale);
	ck_assert(is_all(new, BYTES, 0));
	tide_put(pool, new);
	tear_down(); /* with no report */
	ck_assert_uint_eq(seen.n, 0);
}
END_TEST

START_TEST(a_write_through_a_stale_pointer_outlives_puts_that_reset_less)
{
	unsigned char *stale, *new;

	if (ADDRESS_SANITIZED)
		return;
	set_up();
	stale = tide_get(pool);
	tide_put(pool, stale);
	stale[BYTES - 1] = 0x77;
	for (unsigned lives = 0; lives < 3; lives++) {
		new = tide_get(pool);
		ck_assert_ptr_eq(new, stale);
		ck_assert(is_all(new, BYTES - 1, 0));
		ck_assert_uint_eq(new[BYTES - 1], 0x77);
		memset(new, 1, 10);
		tide_put_used(pool, new, 10);
	}
	tide_put(pool, tide_get(pool));
	new = tide_get(pool);
	ck_assert(is_all(new, BYTES, 0));
	tide_put(pool, new);
	ck_assert_uint_eq(seen.n, 0);
	tear_down();
}
END_TEST

/* It is the put of the next owner that is reported, which has done nothing wrong. */
START_TEST(with_verifyreset_a_stale_write_beyond_used_shows_as_a_dirty_reset)
{
	unsigned char *stale, *new;

	if (ADDRESS_SANITIZED)
		return;
	setenv("TIDEDEBUG", "verifyreset=1", 1);
	set_up();
	stale = tide_get(pool);
	tide_put(pool, stale);
	stale[BYTES - 1] = 0x77;
	new = tide_get(pool);
	ck_assert_ptr_eq(new, stale);
	tide_put_used(pool, new, 10);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_uint_eq(seen.last.kind, TIDE_DIRTY_RESET);
	new = tide_get(pool);
	ck_assert(is_all(new, BYTES, 0)); /* it was let go */
	tide_put(pool, new);
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

START_TEST(an_unpin_too_many_while_another_has_it_pinned_is_not_told)
{
	unsigned char *pinned;
	tide_ref pinned_ref;

	set_up();
	pinned = tide_get_ref(pool, &pinned_ref);
	ck_assert_ptr_eq(tide_pin(pool, pinned_ref), pinned); /* one's */
	ck_assert_ptr_eq(tide_pin(pool, pinned_ref), pinned); /* another one's, */
	tide_put(pool, pinned);
	tide_unpin(pool, pinned);
	tide_unpin(pool, pinned); /* who unpins twice: pins have no names */
	ck_assert_uint_eq(seen.n, 0);
	ck_assert_ptr_eq(tide_get(pool), pinned);
	/* It is the one whose pin it was that is reported. */
	expect_report(UNPIN, pool, pinned, TIDE_BAD_UNPIN);
	tide_put(pool, pinned);
	tear_down();
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_second_put_before_the_slot_is_handed_out_again_is_refused,
		a_second_put_by_another_thread_is_refused,
		a_second_put_of_an_object_that_is_still_pinned_is_refused,
		of_racing_puts_exactly_one_succeeds,
		a_stale_pointer_put_after_reissue_is_not_told_by_pointer_but_by_ref,
		a_write_through_a_stale_pointer_is_never_told_and_goes_with_the_next_put,
		a_write_through_a_stale_pointer_outlives_puts_that_reset_less,
		with_verifyreset_a_stale_write_beyond_used_shows_as_a_dirty_reset,
		an_unpin_without_a_pin_is_refused,
		an_unpin_too_many_while_another_has_it_pinned_is_not_told,
	};

	return run_tests("misuse_double", tests, LENGTH(tests));
}
