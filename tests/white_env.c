/* SPDX-License-Identifier: MIT */
/*
 * pool/env: what each variable accepts, what it means, and how a refusal reads.
 */
#include "config.h"

#include "pool/env.h"

#include <errno.h>

#include "pool/tide.h"
#include "rooms.h"

#define KIB INT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

static const struct tidep_env unset = { .gc_percent = 100, .memory_limit = INT64_MAX };

/* Parses one value, of the variable whose turn it is; 0 with *env, or -EINVAL. */
static int
parse(unsigned variable, const char *value, struct tidep_env *env, char *complaint)
{
	const char *values[4] = { NULL, NULL, NULL, NULL };

	values[variable] = value;
	return tidep_pool_env_parse(env, values[0], values[1], values[2], values[3], complaint,
				    TIDEP_COMPLAINT_BYTES);
}

static void
check_good(unsigned variable, const char *value, struct tidep_env expected)
{
	char complaint[TIDEP_COMPLAINT_BYTES] = "untouched";
	struct tidep_env env = { .gc_percent = -7, .quarantine = 99 };

	ck_assert_msg(parse(variable, value, &env, complaint) == 0, "'%s': %s", value, complaint);
	ck_assert_str_eq(complaint, "untouched");
	ck_assert_msg(env.gc_percent == expected.gc_percent, "'%s'", value);
	ck_assert_msg(env.memory_limit == expected.memory_limit, "'%s'", value);
	ck_assert_msg(env.limit_share == expected.limit_share, "'%s'", value);
	ck_assert_msg(env.fake_nodes == expected.fake_nodes, "'%s'", value);
	ck_assert_msg(env.gctrace == expected.gctrace, "'%s'", value);
	ck_assert_msg(env.verifyreset == expected.verifyreset, "'%s'", value);
	ck_assert_msg(env.quarantine == expected.quarantine, "'%s'", value);
}

static void
check_bad(unsigned variable, const char *value)
{
	static const char *const names[4] = { "TIDEGC", "TIDEMEMLIMIT", "TIDENUMA", "TIDEDEBUG" };
	char complaint[TIDEP_COMPLAINT_BYTES] = "";
	struct tidep_env env = { .gc_percent = -7, .memory_limit = 3, .quarantine = 99 };
	char start[64];

	ck_assert_msg(parse(variable, value, &env, complaint) == -EINVAL, "%s='%s' is accepted",
		      names[variable], value);
	ck_assert_int_eq(env.gc_percent, -7);
	ck_assert_int_eq(env.memory_limit, 3);
	ck_assert_uint_eq(env.quarantine, 99);
	snprintf(start, sizeof(start), "tidepool: %s=\"", names[variable]);
	ck_assert_msg(strncmp(complaint, start, strlen(start)) == 0, "%s", complaint);
	ck_assert_uint_lt(strlen(complaint), TIDEP_COMPLAINT_BYTES - 1);
	for (const char *at = complaint; *at != '\0'; at++)
		REQUIRE_MSG(*at >= ' ' && *at <= '~', "'%s': byte %#x", value, (unsigned char)*at);
}

#define GOOD(variable, value, ...)                                                                 \
	do {                                                                                       \
		struct tidep_env expected = unset;                                                 \
		__VA_ARGS__;                                                                       \
		check_good(variable, value, expected);                                             \
	} while (0)

START_TEST(unset_is_the_default)
{
	GOOD(0, NULL, (void)0);
}
END_TEST

START_TEST(gc_percent)
{
	static const char *const bad[] = { "",       "ten",
					   "-1",     "+1",
					   " 1",     "1 ",
					   "1%",     "1.5",
					   "100001", "0x10",
					   "OFF",    "of",
					   "offf",   "1e3",
					   "off ",   "１",
					   "1\n",    "auto",
					   "-0",     "\x80",
					   "1,000",  "99999999999999999999999" };

	GOOD(0, "off", expected.gc_percent = -1);
	GOOD(0, "0", expected.gc_percent = 0);
	GOOD(0, "1", expected.gc_percent = 1);
	GOOD(0, "100", expected.gc_percent = 100);
	GOOD(0, "0050", expected.gc_percent = 50);
	GOOD(0, "100000", expected.gc_percent = 100000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad(0, bad[i]);
}
END_TEST

/* The table of Go's GOMEMLIMIT. */
START_TEST(byte_grammar)
{
	static const struct {
		const char *text;
		int64_t bytes; /* -1: refused */
	} table[] = {
		{ "0", 0 },
		{ "0B", 0 },
		{ "1", 1 },
		{ "1B", 1 },
		{ "012345", 12345 },
		{ "05KiB", 5 * KIB },
		{ "1KiB", KIB },
		{ "512MiB", 512 * MIB },
		{ "3GiB", 3 * GIB },
		{ "99TiB", 99 * TIB },
		{ "9223372036854775807", INT64_MAX },
		{ "9223372036854775807B", INT64_MAX },
		{ "9007199254740991KiB", 9007199254740991 * KIB },
		{ "8388607TiB", 8388607 * TIB },
		{ "", -1 },
		{ "B", -1 },
		{ "KiB", -1 },
		{ "-1", -1 },
		{ "+1", -1 },
		{ "1K", -1 },
		{ "1KB", -1 },
		{ "1Ki", -1 },
		{ "1kib", -1 },
		{ "1 KiB", -1 },
		{ "1KiBB", -1 },
		{ "1BB", -1 },
		{ "1PiB", -1 },
		{ "555EiB", -1 },
		{ "0x10", -1 },
		{ "1.5GiB", -1 },
		{ " 1", -1 },
		{ "1 ", -1 },
		{ "9223372036854775808", -1 },
		{ "9007199254740992KiB", -1 },
		{ "8388608TiB", -1 },
		{ "18446744073709551616", -1 },
		{ "18446744073709551617KiB", -1 },
		{ "99999999999999999999999999", -1 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int64_t bytes = -5;
		int err = tidep_pool_env_bytes(table[i].text, &bytes);

		ck_assert_msg(err == (table[i].bytes < 0 ? -EINVAL : 0), "'%s'", table[i].text);
		ck_assert_msg(bytes == (table[i].bytes < 0 ? -5 : table[i].bytes), "'%s'",
			      table[i].text);
		if (table[i].bytes < 0)
			check_bad(1, table[i].text);
		else
			GOOD(1, table[i].text, expected.memory_limit = table[i].bytes);
	}
}
END_TEST

START_TEST(memory_limit)
{
	static const char *const bad[] = { "0%",   "101%", "%",    "-5%",  "5 %",   "5%%",
					   "1.5%", "Auto", "none", "85%x", "1000%", "off%" };

	GOOD(1, "off", (void)0);
	GOOD(1, "auto", expected.limit_share = 90);
	GOOD(1, "1%", expected.limit_share = 1);
	GOOD(1, "85%", expected.limit_share = 85);
	GOOD(1, "100%", expected.limit_share = 100);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad(1, bad[i]);
}
END_TEST

START_TEST(nodes)
{
	static const char *const bad[] = { "",        "fake",    "fake=",   "fake=0", "fake=65",
					   "fake=-1", "fake=4x", "fake=x",  "fake 4", "4",
					   "on",      "AUTO",    "fake=+1", "off=1" };

	GOOD(2, "auto", (void)0);
	GOOD(2, "off", expected.fake_nodes = 1);
	GOOD(2, "fake=1", expected.fake_nodes = 1);
	GOOD(2, "fake=4", expected.fake_nodes = 4);
	GOOD(2, "fake=064", expected.fake_nodes = 64);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad(2, bad[i]);
}
END_TEST

START_TEST(switches)
{
	static const char *const bad[] = {
		",",
		"gctrace",
		"gctrace=",
		"gctrace=2",
		"gctrace=1,",
		",gctrace=1",
		"gctrace=1,,",
		"gctrace=1 ,gctrace=1",
		"=1",
		"=",
		"1",
		"g=1",
		"gctraces=1",
		"gctrac=1",
		"verifyreset=yes",
		"verifyreset",
		"quarantine",
		"quarantine=",
		"quarantine=-1",
		"quarantine=1000001",
		"quarantine=1k",
		"quar=1",
		"Gctrace=1",
		"gctrace==1",
		"gctrace=1;",
		"quarantine= 1",
		"quarantine=5,what",
		"\xff\xfe=1",
	};

	GOOD(3, "", (void)0);
	GOOD(3, "gctrace=1", expected.gctrace = true);
	GOOD(3, "gctrace=0", (void)0);
	GOOD(3, "verifyreset=1", expected.verifyreset = true);
	GOOD(3, "quarantine=17", expected.quarantine = 17);
	GOOD(3, "quarantine=0", (void)0);
	GOOD(3, "quarantine=1", expected.quarantine = 1);
	GOOD(3, "quarantine=1000000", expected.quarantine = 1000000);
	GOOD(3, "verifyreset=1,quarantine=8,gctrace=1", expected.gctrace = true,
	     expected.verifyreset = true, expected.quarantine = 8);
	/* Of several for one switch the last one counts. */
	GOOD(3, "gctrace=1,quarantine=9,gctrace=0,quarantine=2", expected.quarantine = 2);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check_bad(3, bad[i]);
}
END_TEST

/* Values that an attacker, or a shell script, would make. */
START_TEST(any_value_makes_one_printable_line)
{
	char value[2000];

	for (unsigned variable = 0; variable < 4; variable++) {
		for (int byte = 1; byte < 256; byte++) {
			if (byte == ',')
				continue;
			memset(value, byte, sizeof(value) - 1);
			value[sizeof(value) - 1] = '\0';
			if (byte >= '0' && byte <= '9')
				value[1] = 'x';
			check_bad(variable, value);
		}
	}
}
END_TEST

START_TEST(a_short_buffer_is_not_overrun)
{
	for (size_t bytes = 1; bytes < 100; bytes++) {
		char complaint[101];
		struct tidep_env env;

		memset(complaint, 'z', sizeof(complaint));
		ck_assert_int_eq(
			tidep_pool_env_parse(&env, "ten", NULL, NULL, NULL, complaint, bytes),
			-EINVAL);
		ck_assert_uint_lt(strnlen(complaint, bytes), bytes);
		ck_assert_int_eq(complaint[bytes], 'z');
	}
}
END_TEST

START_TEST(of_several_bad_values_the_first_is_named)
{
	char complaint[TIDEP_COMPLAINT_BYTES];
	struct tidep_env env;

	ck_assert_int_eq(
		tidep_pool_env_parse(&env, "100", "1K", "x", "y", complaint, sizeof(complaint)),
		-EINVAL);
	ck_assert_ptr_nonnull(strstr(complaint, "TIDEMEMLIMIT=\"1K\""));
	ck_assert_int_eq(
		tidep_pool_env_parse(&env, "100", "1KiB", "x", "y", complaint, sizeof(complaint)),
		-EINVAL);
	ck_assert_ptr_nonnull(strstr(complaint, "TIDENUMA=\"x\""));
	/* Of a long list the bad element is named too. */
	ck_assert_int_eq(tidep_pool_env_parse(&env, NULL, NULL, NULL,
					      "gctrace=1,gctrace=1,gctrace=1,gctrace=1,gctrace=1,"
					      "gctrace=1,gctrace=1,sloth=1",
					      complaint, sizeof(complaint)),
			 -EINVAL);
	ck_assert_ptr_nonnull(strstr(complaint, "\"sloth=1\""));
}
END_TEST

/* Through tide_init(): the worst line there is arrives whole, and is final. */
START_TEST(the_longest_complaint_is_printed_whole)
{
	char value[200];
	char text[1024];
	FILE *file;
	int saved, err;

	memset(value, '\xff', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	setenv("TIDEDEBUG", value, 1);
	saved = capture_begin(&file);
	err = tide_init();
	capture_end(file, saved, text, sizeof(text));
	ck_assert_int_eq(err, -EINVAL);
	ck_assert_ptr_nonnull(strstr(text, "separated by commas\n"));
	unsetenv("TIDEDEBUG");
	ck_assert_int_eq(tide_init(), -EINVAL);
}
END_TEST

int
main(void)
{
	return run_suite("white_env", (const TTest *const[]){
					      unset_is_the_default,
					      gc_percent,
					      byte_grammar,
					      memory_limit,
					      nodes,
					      switches,
					      any_value_makes_one_printable_line,
					      a_short_buffer_is_not_overrun,
					      of_several_bad_values_the_first_is_named,
					      the_longest_complaint_is_printed_whole,
					      NULL,
				      });
}
