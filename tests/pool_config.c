/* SPDX-License-Identifier: MIT */
/* pool_config.c - what tide_pool_create() accepts, what it refuses and how it says so. */
#include "common.h"

/* Creates and expects NULL, this errno and one line that has each word. */
static void
expect_refused(const struct tide_pool_config *config, int error, const char *word)
{
	struct capture capture;
	const char *text;
	tide_pool *pool;
	int got;

	capture_start(&capture);
	errno = 0;
	pool = tide_pool_create(config);
	got = errno;
	text = capture_end(&capture);
	ck_assert_msg(pool == NULL, "accepted: bad %s", word);
	ck_assert_msg(got == error, "bad %s: errno is %s", word, strerror(got));
	ck_assert_msg(is_one_line(text), "bad %s: not one line: '%s'", word, text);
	ck_assert_msg(strstr(text, word) != NULL, "no word of %s in '%s'", word, text);
	ck_assert_ptr_null(tide_pool_find("bad"));
}

#define REFUSED(word, name, bytes, ...)                                                            \
	expect_refused(CONFIG((name), (bytes), __VA_ARGS__), EINVAL, (word))

static char long_name[65] = "a123456789b123456789c123456789d123456789e123456789f123456789g123";

START_TEST(a_bad_name_is_einval_and_one_line)
{
	static const char *const names[] = { "",     "Conns", "a b",  "a/b",      "a'b",
					     "a\nb", "a\"b",  "a{b}", "\xc3\xa9", "a#2" };

	for (size_t i = 0; i < LENGTH(names); i++)
		REFUSED("name", names[i], 64, .flags = 0);
	REFUSED("name", NULL, 64, .flags = 0);
	ck_assert_uint_eq(strlen(long_name), 64);
	REFUSED("name", long_name, 64, .flags = 0);
}
END_TEST

START_TEST(every_good_name_is_accepted_and_copied)
{
	char name[] = "abcdefghijklmnopqrstuvwxyz0123456789_.-";
	tide_pool *pool = NEW_POOL(name, 64, .flags = 0);

	memset(name, 'X', sizeof(name) - 1);
	ck_assert_str_eq(tide_pool_name(pool), "abcdefghijklmnopqrstuvwxyz0123456789_.-");
	end_pool(pool);
	long_name[63] = '\0';
	pool = NEW_POOL(long_name, 64, .flags = 0);
	ck_assert_str_eq(tide_pool_name(pool), long_name);
	ck_assert_ptr_eq(tide_pool_find(long_name), pool);
	end_pool(pool);
	pool = NEW_POOL("-", 64);
	end_pool(pool);
}
END_TEST

START_TEST(a_bad_size_is_einval_and_one_line)
{
	REFUSED("object_bytes", "bad", 0, .flags = 0);
	REFUSED("object_bytes", "bad", 64 * MIB + 1, .flags = 0);
	REFUSED("object_bytes", "bad", SIZE_MAX, .flags = 0);
	REFUSED("object_bytes", "bad", SIZE_MAX / 2 + 1, .flags = 0);
}
END_TEST

START_TEST(a_bad_alignment_is_einval_and_one_line)
{
	static const size_t aligns[] = {
		3, 48, 65, 64 * KIB + 1, 128 * KIB, SIZE_MAX, SIZE_MAX / 2 + 1
	};

	for (size_t i = 0; i < LENGTH(aligns); i++)
		REFUSED("align_bytes", "bad", 64, .align_bytes = aligns[i]);
}
END_TEST

static int
reset_nothing(void *obj, size_t used, void *ctx)
{
	(void)obj, (void)used, (void)ctx;
	return 0;
}

START_TEST(reset_is_mandatory)
{
	struct tide_pool_config config = *CONFIG("bad", 64);

	config.reset = NULL;
	expect_refused(&config, EINVAL, "reset");
	config.reset = reset_nothing;
	end_pool(new_pool(&config));
}
END_TEST

START_TEST(a_bad_placement_node_or_flag_is_einval_and_one_line)
{
	setenv("TIDENUMA", "fake=2", 1);
	REFUSED("placement", "bad", 64, .placement = 3);
	REFUSED("placement", "bad", 64, .placement = UINT32_MAX);
	REFUSED("node", "bad", 64, .placement = TIDE_BIND, .node = 2);
	REFUSED("node", "bad", 64, .placement = TIDE_BIND, .node = UINT32_MAX);
	REFUSED("flags", "bad", 64, .flags = 1);
	REFUSED("flags", "bad", 64, .flags = 1u << 31);
	end_pool(NEW_POOL("good", 64, .placement = TIDE_BIND, .node = 1));
	end_pool(NEW_POOL("good", 64, .placement = TIDE_INTERLEAVE));
}
END_TEST

START_TEST(no_config_and_config_bytes_0_are_einval_and_one_line)
{
	struct tide_pool_config config = *CONFIG("bad", 64);

	expect_refused(NULL, EINVAL, "config");
	config.config_bytes = 0;
	expect_refused(&config, EINVAL, "config_bytes");
}
END_TEST

/* A newer caller's struct, with a field that this library does not know. */
struct newer {
	struct tide_pool_config config;
	unsigned char tail[24];
};

START_TEST(a_longer_config_is_accepted_if_its_tail_is_zero)
{
	struct newer newer = { .config = *CONFIG("newer", 64, .max_bytes = 6400) };

	newer.config.config_bytes = sizeof(newer);
	end_pool(new_pool(&newer.config));
}
END_TEST

START_TEST(a_longer_config_with_a_tail_is_e2big_and_one_line)
{
	struct newer newer = { .config = *CONFIG("bad", 64) };

	newer.config.config_bytes = sizeof(newer);
	for (size_t i = 0; i < sizeof(newer.tail); i++) {
		memset(newer.tail, 0, sizeof(newer.tail));
		newer.tail[i] = 1;
		expect_refused(&newer.config, E2BIG, "config");
	}
	newer.config.config_bytes = sizeof(newer.config) + 1;
	newer.tail[0] = 0; /* the rest is not in the struct by its own word */
	end_pool(new_pool(&newer.config));
}
END_TEST

/* What lies beyond config_bytes is garbage in all of these, and must not be read as fields. */
START_TEST(a_shorter_config_means_zero_for_what_it_lacks)
{
	static const size_t lengths[] = {
		offsetof(struct tide_pool_config, fini),
		offsetof(struct tide_pool_config, verify),
		offsetof(struct tide_pool_config, ctx),
		offsetof(struct tide_pool_config, max_bytes),
		offsetof(struct tide_pool_config, placement),
		offsetof(struct tide_pool_config, node),
		offsetof(struct tide_pool_config, flags),
	};
	struct tide_pool_config config;
	tide_pool *pool;
	char *obj;

	for (size_t i = 0; i < LENGTH(lengths); i++) {
		memset(&config, 0xff, sizeof(config));
		memcpy(&config, CONFIG("older", 64), lengths[i]);
		config.config_bytes = lengths[i];
		pool = new_pool(&config);
		obj = tide_get(pool);
		ck_assert_ptr_nonnull(obj);
		tide_put(pool, obj);
		end_pool(pool);
	}
}
END_TEST

START_TEST(a_config_too_short_for_what_is_mandatory_is_einval)
{
	struct tide_pool_config config = *CONFIG("bad", 64);

	config.config_bytes = offsetof(struct tide_pool_config, reset);
	expect_refused(&config, EINVAL, "reset");
	config.config_bytes = offsetof(struct tide_pool_config, object_bytes);
	expect_refused(&config, EINVAL, "object_bytes");
	config.config_bytes = offsetof(struct tide_pool_config, name);
	expect_refused(&config, EINVAL, "name");
}
END_TEST

/* Where each field ends: the only sizes that a struct of an older version can have. */
static bool
is_end_of_field(size_t bytes)
{
#define END_OF(field)                                                                              \
	(offsetof(struct tide_pool_config, field) + sizeof(((struct tide_pool_config *)0)->field))
	static const size_t ends[] = {
		END_OF(config_bytes), END_OF(name),      END_OF(object_bytes), END_OF(align_bytes),
		END_OF(init),         END_OF(reset),     END_OF(fini),         END_OF(verify),
		END_OF(ctx),          END_OF(max_bytes), END_OF(placement),    END_OF(node),
		END_OF(flags),
	};

	for (size_t i = 0; i < LENGTH(ends); i++)
		if (ends[i] == bytes)
			return true;
	return false;
}

START_TEST(a_config_that_ends_within_a_field_is_einval)
{
	struct tide_pool_config config;
	unsigned refused = 0;

	for (size_t bytes = 1; bytes < sizeof(config); bytes++) {
		if (is_end_of_field(bytes))
			continue;
		config = *CONFIG("bad", 64);
		config.config_bytes = bytes;
		expect_refused(&config, EINVAL, "config_bytes");
		refused++;
	}
	ck_assert_uint_gt(refused, 70);
}
END_TEST

/* Some objects of a pool: aligned, apart, zero, and their own to the last byte. */
static void
try_objects(size_t bytes, size_t align)
{
	tide_pool *pool = NEW_POOL("sizes", bytes, .align_bytes = align);
	size_t want = align != 0 ? align : bytes >= 64 ? 64 : 16;
	unsigned n = bytes >= MIB ? 3 : 40;
	unsigned char *objs[40];

	ck_assert_uint_eq(tide_pool_object_bytes(pool), bytes);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < n; i++) {
			objs[i] = tide_get(pool);
			ck_assert_ptr_nonnull(objs[i]);
			ck_assert_uint_eq((uintptr_t)objs[i] % want, 0);
			ck_assert_msg(is_all(objs[i], bytes, 0), "%zu bytes: not zero", bytes);
			memset(objs[i], (int)i + 1, bytes);
		}
		for (unsigned i = 0; i < n; i++) {
			ck_assert_msg(is_all(objs[i], bytes, (unsigned char)(i + 1)),
				      "objects of %zu bytes overlap", bytes);
			tide_put(pool, objs[i]);
		}
	}
	end_pool(pool);
}

START_TEST(sizes_from_1_byte_to_64_mib_are_good)
{
	for (size_t bytes = 1; bytes <= 64 * MIB; bytes *= SANITIZED && bytes >= MIB ? 8 : 2)
		try_objects(bytes, 0);
}
END_TEST

START_TEST(odd_sizes_are_good)
{
	static const size_t sizes[] = { 3,     7,     15,     17,     63,          65,
					100,   129,   1000,   4095,   4097,        65535,
					65537, 99991, 262143, 262145, 3 * MIB + 1, 64 * MIB - 1 };

	for (size_t i = 0; i < LENGTH(sizes); i++)
		if (!SANITIZED || sizes[i] < 4 * MIB)
			try_objects(sizes[i], 0);
}
END_TEST

START_TEST(alignments_from_1_to_64_kib_are_good)
{
	static const size_t sizes[] = { 1, 24, 64, 5000, 70000, 300001 };

	for (size_t align = 1; align <= 64 * KIB; align *= 2)
		for (size_t i = 0; i < LENGTH(sizes); i++)
			try_objects(sizes[i], align);
}
END_TEST

START_TEST(a_thousand_pools_at_once_are_good)
{
	enum { POOLS = 1000 };
	static tide_pool *pools[POOLS];
	static uint32_t *objs[POOLS];
	char name[16];

	for (unsigned i = 0; i < POOLS; i++) {
		snprintf(name, sizeof(name), "pool%u", i);
		pools[i] = NEW_POOL(name, 4 + i % 300, .flags = 0);
	}
	for (unsigned i = 0; i < POOLS; i++) {
		objs[i] = tide_get(pools[i]);
		ck_assert_ptr_nonnull(objs[i]);
		*objs[i] = i;
	}
	ck_assert_ptr_eq(tide_pool_find("pool777"), pools[777]);
	for (unsigned i = 0; i < POOLS; i++) {
		ck_assert_uint_eq(*objs[i], i);
		ck_assert_uint_eq(stats_of(pools[i]).live_objects, 1);
		tide_put(pools[i], objs[i]);
	}
	ck_assert_int_eq(tide_check(), 0);
	for (unsigned i = 0; i < POOLS; i++)
		ck_assert_int_eq(tide_pool_destroy(pools[i]), 0);
	ck_assert_ptr_null(tide_pool_find("pool777"));
	ck_assert_int_eq(tide_check(), 0);
}
END_TEST

START_TEST(pools_that_come_and_go_do_not_use_anything_up)
{
	for (unsigned i = 0; i < ROUNDS(3000); i++) {
		tide_pool *pool = NEW_POOL("short", 1 + i * 37 % 5000);
		unsigned char *obj = tide_get(pool);

		ck_assert_ptr_nonnull(obj);
		ck_assert(is_all(obj, tide_pool_object_bytes(pool), 0));
		memset(obj, 0xff, tide_pool_object_bytes(pool));
		tide_put(pool, obj);
		ck_assert_int_eq(tide_pool_destroy(pool), 0);
	}
	ck_assert_int_eq(tide_check(), 0);
}
END_TEST

START_TEST(find_gives_the_oldest_of_a_name)
{
	tide_pool *first = NEW_POOL("twin", 64);
	tide_pool *second = NEW_POOL("twin", 128);

	ck_assert_ptr_null(tide_pool_find("twi"));
	ck_assert_ptr_null(tide_pool_find("twins"));
	ck_assert_ptr_null(tide_pool_find(""));
	ck_assert_ptr_eq(tide_pool_find("twin"), first);
	ck_assert_str_eq(tide_pool_name(second), "twin");
	ck_assert_uint_eq(tide_pool_object_bytes(second), 128);
	end_pool(first);
	ck_assert_ptr_eq(tide_pool_find("twin"), second);
	end_pool(second);
	ck_assert_ptr_null(tide_pool_find("twin"));
}
END_TEST

START_TEST(the_second_pool_of_a_name_is_reported_with_a_number)
{
	static char text[65536];
	tide_pool *first = NEW_POOL("twin", 64);
	tide_pool *second = NEW_POOL("twin", 64);
	struct seen seen = { 0 };
	char *obj = tide_get(second);

	tide_set_misuse_handler(see_report, &seen);
	tide_put(second, obj + 1);
	ck_assert_uint_eq(seen.n, 1);
	ck_assert_str_eq(seen.pool, "twin#2");
	ck_assert_ptr_nonnull(strstr(seen.text, "'twin#2'"));
	tide_put(second, obj);
	ck_assert_int_gt(tide_stats_format(text, sizeof(text), TIDE_PROMETHEUS), 0);
	ck_assert_ptr_nonnull(strstr(text, "\"twin\""));
	ck_assert_ptr_nonnull(strstr(text, "\"twin#2\""));
	end_pool(first);
	end_pool(second);
}
END_TEST

START_TEST(max_bytes_for_less_than_one_object_is_refused_or_never_gets)
{
	struct capture capture;
	tide_pool *pool;

	capture_start(&capture);
	pool = tide_pool_create(CONFIG("bad", 64, .max_bytes = 63));
	if (pool == NULL)
		ck_assert_int_eq(errno, EINVAL);
	capture_end(&capture);
	if (pool != NULL) {
		ck_assert_ptr_null(tide_get(pool));
		ck_assert_int_eq(errno, ENOMEM);
		end_pool(pool);
	}
	pool = NEW_POOL("one", 64, .max_bytes = 64);
	tide_put(pool, tide_get(pool));
	ck_assert_uint_eq(stats_of(pool).gets, 1);
	end_pool(pool);
}
END_TEST

START_TEST(the_library_has_the_version_of_its_header)
{
	ck_assert_uint_eq(tide_version(), TIDE_VERSION);
	ck_assert_uint_eq(TIDE_VERSION, 0x000100);
	ck_assert_int_eq(tide_init(), 0);
	ck_assert_int_eq(tide_init(), 0);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		a_bad_name_is_einval_and_one_line,
		every_good_name_is_accepted_and_copied,
		a_bad_size_is_einval_and_one_line,
		a_bad_alignment_is_einval_and_one_line,
		reset_is_mandatory,
		a_bad_placement_node_or_flag_is_einval_and_one_line,
		no_config_and_config_bytes_0_are_einval_and_one_line,
		a_longer_config_is_accepted_if_its_tail_is_zero,
		a_longer_config_with_a_tail_is_e2big_and_one_line,
		a_shorter_config_means_zero_for_what_it_lacks,
		a_config_too_short_for_what_is_mandatory_is_einval,
		a_config_that_ends_within_a_field_is_einval,
		sizes_from_1_byte_to_64_mib_are_good,
		odd_sizes_are_good,
		alignments_from_1_to_64_kib_are_good,
		a_thousand_pools_at_once_are_good,
		pools_that_come_and_go_do_not_use_anything_up,
		find_gives_the_oldest_of_a_name,
		the_second_pool_of_a_name_is_reported_with_a_number,
		max_bytes_for_less_than_one_object_is_refused_or_never_gets,
		the_library_has_the_version_of_its_header,
	};

	return run_tests("pool_config", tests, LENGTH(tests));
}
