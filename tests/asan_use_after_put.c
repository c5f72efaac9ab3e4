/* SPDX-License-Identifier: MIT */
/*
 * asan_use_after_put.c - under AddressSanitizer whoever touches, through a raw
 * pointer, an object that rests in the pool dies at the access, with a report of
 * use-after-poison; and whoever owns or has pinned an object may touch all of it.
 *
 * Each access is made by a child, whose standard error the parent reads.
 */
#include "common.h"

#include <sys/resource.h>
#include <sys/wait.h>

#if ADDRESS_SANITIZED
#include <sanitizer/asan_interface.h>

#define BYTES 100

enum way { READ, WRITE };

/* One touch of one byte, that no compiler leaves out. */
static void
touch(volatile unsigned char *byte, enum way way)
{
	if (way == WRITE)
		*byte = 1;
	else
		(void)*byte;
}

/* Looking up the names of functions takes longer than all the rest. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "symbolize=0";
}

static bool
is_reported(const char *text, const void *byte)
{
	char line[100];

	snprintf(line, sizeof(line), "AddressSanitizer: use-after-poison on address %p at", byte);
	return strstr(text, line) != NULL;
}

/* Does a child that touches the byte die, and of the right report? */
static bool
dies_of(const void *byte, enum way way)
{
	char text[8192];
	size_t length = 0;
	ssize_t n = 1;
	int status, fds[2];
	pid_t child;

	ck_assert_int_eq(pipe(fds), 0);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		touch((unsigned char *)(uintptr_t)byte, way);
		_exit(0);
	}
	close(fds[1]);
	/* The report must not be kept waiting: what does not fit is read and forgotten. */
	while (n > 0) {
		char rest[4096];

		n = read(fds[0], rest, sizeof(rest));
		for (ssize_t i = 0; i < n && length < sizeof(text) - 1; i++)
			text[length++] = rest[i];
	}
	text[length] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	ck_assert_msg(is_reported(text, byte), "it died of something else: %s", text);
	return true;
}

/* All bytes of the object are open, and what lies behind it in its slot is not. */
static void
expect_lent(const unsigned char *obj, size_t bytes)
{
	ck_assert_ptr_null(__asan_region_is_poisoned((void *)(uintptr_t)obj, bytes));
	if (bytes % 16 != 0)
		ck_assert(dies_of(obj + bytes, WRITE));
}

/* No byte of it may be touched. */
static void
expect_at_rest(const unsigned char *obj, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		ck_assert_msg(__asan_address_is_poisoned(obj + i), "byte %zu is open", i);
	ck_assert(dies_of(obj, READ));
	ck_assert(dies_of(obj + bytes - 1, WRITE));
}

static int
mark(void *obj, void *ctx)
{
	(void)ctx;
	memset(obj, 7, BYTES);
	return 0;
}

static int
mark_again(void *obj, size_t used, void *ctx)
{
	(void)used;
	return mark(obj, ctx);
}

static void
expect_mark(void *obj, void *ctx)
{
	(void)ctx;
	ck_assert(is_all(obj, BYTES, 7));
}

START_TEST(a_read_or_write_after_put_is_reported)
{
	static const size_t sizes[] = { 1, 7, 8, 15, 16, 24, 100, 128, 129, 4000, 70000, 2 * MIB };

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		tide_pool *pool = NEW_POOL("put", sizes[i]);
		unsigned char *obj = tide_get(pool);

		/* Twice: the second time it comes out of a magazine. */
		for (int round = 0; round < 2; round++) {
			expect_lent(obj, sizes[i]);
			memset(obj, 1, sizes[i]);
			tide_put(pool, obj);
			ck_assert(dies_of(obj, READ));
			ck_assert(dies_of(obj, WRITE));
			ck_assert(dies_of(obj + sizes[i] - 1, WRITE));
			ck_assert_ptr_eq(tide_get(pool), obj);
			ck_assert(is_all(obj, sizes[i], 0));
		}
		tide_put(pool, obj);
		end_pool(pool);
	}
}
END_TEST

START_TEST(each_kind_of_put_ends_access)
{
	tide_pool *plain = NEW_POOL("plain", BYTES);
	tide_pool *hooks =
		NEW_POOL("hooks", BYTES, .init = mark, .reset = mark_again, .fini = expect_mark);
	tide_pool *pools[] = { plain, hooks };

	for (size_t i = 0; i < LENGTH(pools); i++) {
		tide_pool *pool = pools[i];
		void *objs[3];
		tide_ref ref;
		void *obj;

		obj = tide_get(pool);
		tide_put_used(pool, obj, 9);
		expect_at_rest(obj, BYTES);
		obj = tide_get_ref(pool, &ref);
		expect_lent(obj, BYTES);
		ck_assert_int_eq(tide_put_ref(pool, ref), 0);
		expect_at_rest(obj, BYTES);
		obj = tide_get_ref(pool, &ref);
		ck_assert_int_eq(tide_put_ref_used(pool, ref, 3), 0);
		expect_at_rest(obj, BYTES);
		obj = tide_get(pool);
		tide_discard(pool, obj);
		expect_at_rest(obj, BYTES);
		ck_assert_int_eq(tide_get_bulk(pool, objs, 3), 0);
		for (int j = 0; j < 3; j++)
			expect_lent(objs[j], BYTES);
		tide_put_bulk(pool, objs, 3);
		for (int j = 0; j < 3; j++)
			expect_at_rest(objs[j], BYTES);
		end_pool(pool);
	}
}
END_TEST

START_TEST(a_pinned_object_stays_open_until_the_last_unpin)
{
	tide_pool *pool = NEW_POOL("pins", BYTES);
	tide_ref ref;
	unsigned char *obj = tide_get_ref(pool, &ref);

	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_put(pool, obj);
	expect_lent(obj, BYTES);
	tide_unpin(pool, obj);
	expect_lent(obj, BYTES);
	memset(obj, 1, BYTES);
	tide_unpin(pool, obj);
	expect_at_rest(obj, BYTES);
	ck_assert_ptr_eq(tide_get(pool), obj);
	ck_assert(is_all(obj, BYTES, 0));
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(what_nobody_was_given_yet_is_no_ones)
{
	tide_pool *pool = NEW_POOL("fresh", BYTES);
	unsigned char *obj = tide_get(pool);

	/* Its neighbour, which the thread has claimed; and a slot nobody has. */
	expect_at_rest(obj + 112, BYTES);
	expect_at_rest(obj + 112 * 300, BYTES);
	tide_put(pool, obj);
	end_pool(pool);
}
END_TEST

START_TEST(objects_without_alignment_shut_whole_words_only)
{
	tide_pool *pool = NEW_POOL("packed", 17, .align_bytes = 1);
	unsigned char *objs[64];

	for (size_t i = 0; i < LENGTH(objs); i++) {
		objs[i] = tide_get(pool);
		ck_assert_ptr_nonnull(objs[i]);
	}
	/* Every second one: those between stay open to the last byte. */
	for (size_t i = 0; i < LENGTH(objs); i += 2)
		tide_put(pool, objs[i]);
	for (size_t i = 1; i < LENGTH(objs); i += 2)
		memset(objs[i], 1, 17);
	for (size_t i = 0; i < LENGTH(objs); i += 2)
		ck_assert(__asan_address_is_poisoned(objs[i] + 8));
	for (size_t i = 1; i < LENGTH(objs); i += 2)
		tide_put(pool, objs[i]);
	end_pool(pool);
}
END_TEST

/* The other ways out of the pool and back, where nobody but the library is at work. */
START_TEST(the_library_itself_is_not_reported)
{
	tide_pool *pool, *second;
	void *objs[300];

	setenv("TIDENUMA", "fake=2", 1);
	setenv("TIDEDEBUG", "quarantine=7,verifyreset=1", 1);
	pool = NEW_POOL("other", BYTES, .init = mark, .reset = mark_again, .fini = expect_mark,
			.max_bytes = 300 * BYTES);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(tide_get_bulk(pool, objs, 300), 0);
		for (int i = 0; i < 300; i++)
			if (i % 3 == 0)
				tide_discard(pool, objs[i]);
			else
				tide_put(pool, objs[i]);
		expect_at_rest(objs[299], BYTES);
		/* At max_bytes those of the other node are let go. */
		for (unsigned i = 0; i < 200; i++)
			ck_assert_ptr_nonnull(objs[i] = tide_get_on(pool, (unsigned)round % 2));
		tide_put_bulk(pool, objs, 200);
		tide_thread_flush();
	}
	/* More objects than a slab holds, none left: the slab goes, and another pool has it. */
	second = NEW_POOL("second", 3000);
	end_pool(pool);
	ck_assert_int_eq(tide_pool_reserve(second, 300), 0);
	ck_assert_int_eq(tide_get_bulk(second, objs, 300), 0);
	for (int i = 0; i < 300; i++)
		memset(objs[i], 1, 3000);
	tide_put_bulk(second, objs, 300);
	end_pool(second);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_read_or_write_after_put_is_reported,
		each_kind_of_put_ends_access,
		a_pinned_object_stays_open_until_the_last_unpin,
		what_nobody_was_given_yet_is_no_ones,
		objects_without_alignment_shut_whole_words_only,
		the_library_itself_is_not_reported,
	};

	return run_tests("asan_use_after_put", tests, LENGTH(tests));
}

#else

int
main(void)
{
	puts("only a build with --enable-sanitize=address can tell");
	return 77;
}

#endif
