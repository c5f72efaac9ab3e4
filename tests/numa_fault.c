/* SPDX-License-Identifier: MIT */
/*
 * numa/fault: the Nth asking is refused, and no other.
 */
#include "config.h"

#include "numa/fault.h"

#include <pthread.h>

#include "rooms.h"

#define THREADS 4
#define ASKINGS 5000 /* by each thread */

static void
arm(int64_t in)
{
	atomic_store(&tidep_numa_fault_asked, 0);
	atomic_store(&tidep_numa_fault_in, in);
}

START_TEST(off_refuses_nothing_and_counts_nothing)
{
	arm(0);
	for (int i = 0; i < 1000; i++)
		ck_assert(!tidep_numa_fault());
	ck_assert_uint_eq(atomic_load(&tidep_numa_fault_asked), 0);
}
END_TEST

START_TEST(the_nth_is_refused_exactly_once)
{
	for (int64_t n = 1; n <= 50; n++) {
		arm(n);
		for (int64_t i = 1; i <= 200; i++)
			ck_assert_msg(tidep_numa_fault() == (i == n), "asking %d of N = %d", (int)i,
				      (int)n);
		ck_assert_uint_eq(atomic_load(&tidep_numa_fault_asked), 200);
		ck_assert_int_lt(atomic_load(&tidep_numa_fault_in), 0);
	}
}
END_TEST

START_TEST(negative_only_counts)
{
	arm(-1);
	for (int i = 0; i < 77; i++)
		ck_assert(!tidep_numa_fault());
	ck_assert_uint_eq(atomic_load(&tidep_numa_fault_asked), 77);
}
END_TEST

static void *
ask_often(void *refused)
{
	for (int i = 0; i < ASKINGS; i++)
		if (tidep_numa_fault())
			++*(unsigned *)refused;
	return NULL;
}

START_TEST(of_many_threads_one_is_refused)
{
	for (int64_t n = 1; n <= THREADS * ASKINGS; n += 3 * ASKINGS / 7) {
		pthread_t threads[THREADS];
		unsigned refused[THREADS] = { 0 };
		unsigned sum = 0;

		arm(n);
		for (int i = 0; i < THREADS; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_often, &refused[i]),
					 0);
		for (int i = 0; i < THREADS; i++) {
			ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
			sum += refused[i];
		}
		ck_assert_uint_eq(sum, 1);
		ck_assert_uint_eq(atomic_load(&tidep_numa_fault_asked), THREADS * ASKINGS);
	}
}
END_TEST

int
main(void)
{
	return run_suite("numa_fault", (const TTest *const[]){
					       off_refuses_nothing_and_counts_nothing,
					       the_nth_is_refused_exactly_once,
					       negative_only_counts,
					       of_many_threads_one_is_refused,
					       NULL,
				       });
}
