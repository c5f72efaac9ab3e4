/* SPDX-License-Identifier: MIT */
/*
 * numa/record: zeroed lines of one's own, NULL when there is no memory.
 */
#include "config.h"

#include "numa/record.h"

#include <pthread.h>

#include "numa/fault.h"
#include "rooms.h"

#define LINE_BYTES 64

START_TEST(records_are_aligned_zeroed_and_apart)
{
	enum { MANY = 300 };
	unsigned char *record[MANY];

	/* Twice: the second round gets memory that the first one has dirtied. */
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < MANY; i++) {
			size_t bytes = i * i / 3;

			record[i] = tidep_numa_record_alloc(bytes);
			ck_assert_ptr_nonnull(record[i]);
			ck_assert_uint_eq((uintptr_t)record[i] % LINE_BYTES, 0);
			ck_assert_msg(is_zero(record[i], bytes), "%zu bytes", bytes);
			memset(record[i], (int)(i + 1), bytes);
		}
		for (size_t i = 0; i < MANY; i++) {
			for (size_t at = 0; at < i * i / 3; at++)
				REQUIRE(record[i][at] == (unsigned char)(i + 1));
			tidep_numa_record_free(record[i]);
		}
	}
}
END_TEST

START_TEST(nothing_is_asked_for_as_something)
{
	void *a = tidep_numa_record_alloc(0);
	void *b = tidep_numa_record_alloc(0);

	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_ne(a, b);
	tidep_numa_record_free(a);
	tidep_numa_record_free(b);
	tidep_numa_record_free(NULL);
}
END_TEST

START_TEST(absurd_sizes_are_null_without_a_word)
{
	static const size_t absurd[] = { SIZE_MAX,         SIZE_MAX - 1,    SIZE_MAX - 63,
					 SIZE_MAX - 64,    SIZE_MAX - 127,  (size_t)PTRDIFF_MAX + 1,
					 PTRDIFF_MAX,      PTRDIFF_MAX - 1, PTRDIFF_MAX - 64,
					 PTRDIFF_MAX - 127 };
	char text[256];
	FILE *file;
	int saved = capture_begin(&file);
	void *record[sizeof(absurd) / sizeof(absurd[0])];

	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++)
		record[i] = tidep_numa_record_alloc(absurd[i]);
	capture_end(file, saved, text, sizeof(text));
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++)
		ck_assert_ptr_null(record[i]);
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(a_refusal_is_null_and_passes)
{
	void *record;

	for (size_t bytes = 0; bytes < 3; bytes++) {
		atomic_store(&tidep_numa_fault_in, 1);
		ck_assert_ptr_null(tidep_numa_record_alloc(bytes));
		record = tidep_numa_record_alloc(bytes);
		ck_assert_ptr_nonnull(record);
		tidep_numa_record_free(record);
	}
}
END_TEST

static void *
free_it(void *record)
{
	tidep_numa_record_free(record);
	return NULL;
}

START_TEST(any_thread_may_free)
{
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		void *record = tidep_numa_record_alloc(100);

		ck_assert_ptr_nonnull(record);
		ck_assert_int_eq(pthread_create(&thread, NULL, free_it, record), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	}
}
END_TEST

int
main(void)
{
	return run_suite("numa_record", (const TTest *const[]){
						records_are_aligned_zeroed_and_apart,
						nothing_is_asked_for_as_something,
						absurd_sizes_are_null_without_a_word,
						a_refusal_is_null_and_passes,
						any_thread_may_free,
						NULL,
					});
}
