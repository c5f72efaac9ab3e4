/* SPDX-License-Identifier: MIT */
/*
 * misuse_foreign.c - what is no object of the pool, or of no pool, is refused
 * whatever it points at.
 */
#include "misuse.h"

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
		tide_pool *gone = NEW_POOL("gone", sizes[s]);
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
		tide_pool *sized = NEW_POOL("sized", sizes[s]);
		void *theirs = tide_get(sized);

		expect_wrong_pool(theirs, "'sized'");
		tide_put(sized, theirs);
		end_pool(sized);
	}
	tear_down();
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
	};

	return run_tests("misuse_foreign", tests, LENGTH(tests));
}
