/* SPDX-License-Identifier: MIT */
/*
 * pool_formats.c - the three formats of the statistics are what they say, at any
 * size of the buffer, and print writes the same to any descriptor or says why not.
 */
#include "common.h"

#include <ctype.h>
#include <signal.h>

/* ---- formats -------------------------------------------------------------- */

static const uint32_t formats[] = { TIDE_TEXT, TIDE_JSON, TIDE_PROMETHEUS };
static char text[1 << 20], whole[1 << 20];

static tide_pool *
used_pool(const char *name)
{
	tide_pool *pool = NEW_POOL(name, 64, .flags = 0);

	for (unsigned i = 0; i < 300; i++)
		tide_put(pool, tide_get(pool));
	return pool;
}

START_TEST(format_writes_as_snprintf_would)
{
	tide_pool *pool = used_pool("fmt");

	for (size_t f = 0; f < LENGTH(formats); f++) {
		int n = tide_stats_format(NULL, 0, formats[f]);

		ck_assert_int_gt(n, 100);
		ck_assert_int_lt(n, (int)sizeof(text));
		ck_assert_int_eq(tide_stats_format(whole, sizeof(whole), formats[f]), n);
		ck_assert_uint_eq(strlen(whole), (size_t)n);
		for (size_t bytes = 0; bytes <= (size_t)n + 2; bytes++) {
			size_t kept = bytes > (size_t)n ? (size_t)n : bytes == 0 ? 0 : bytes - 1;

			memset(text, 0xee, (size_t)n + 128);
			ck_assert_int_eq(tide_stats_format(text, bytes, formats[f]), n);
			ck_assert_msg(memcmp(text, whole, kept) == 0, "cut at %zu", bytes);
			if (bytes > 0)
				ck_assert_int_eq(text[kept], 0);
			ck_assert_msg(is_all(text + bytes, 64, 0xee), "past %zu bytes", bytes);
		}
	}
	end_pool(pool);
}
END_TEST

START_TEST(an_unknown_format_is_einval)
{
	tide_pool *pool = used_pool("fmt");

	ck_assert_int_eq(tide_stats_format(text, sizeof(text), 3), -EINVAL);
	ck_assert_int_eq(tide_stats_format(NULL, 0, UINT32_MAX), -EINVAL);
	ck_assert_int_eq(tide_stats_print(1, 3), -EINVAL);
	end_pool(pool);
}
END_TEST

START_TEST(formats_are_good_without_any_pool_and_before_init)
{
	for (size_t f = 0; f < LENGTH(formats); f++)
		ck_assert_int_gt(tide_stats_format(text, sizeof(text), formats[f]), 0);
}
END_TEST

/* A reader of JSON: returns past one value, or NULL. */
static const char *
read_json(const char *at)
{
	const char *from = at;

	if (*at == '"') {
		for (at++; *at != '"'; at++)
			if ((unsigned char)*at < ' ' || (*at == '\\' && *++at == '\0'))
				return NULL;
		return at + 1;
	}
	if (*at == '{' || *at == '[') {
		char close = *at == '{' ? '}' : ']';

		at += 1 + strspn(at + 1, " \n\t");
		while (*at != close) {
			if (close == '}') {
				at = *at == '"' ? read_json(at) : NULL;
				if (at == NULL)
					return NULL;
				at += strspn(at, " \n\t");
				if (*at++ != ':')
					return NULL;
				at += strspn(at, " \n\t");
			}
			at = read_json(at);
			if (at == NULL)
				return NULL;
			at += strspn(at, " \n\t");
			if (*at == ',') {
				at += 1 + strspn(at + 1, " \n\t");
				if (*at == close)
					return NULL;
			} else if (*at != close) {
				return NULL;
			}
		}
		return at + 1;
	}
	if (strncmp(at, "true", 4) == 0 || strncmp(at, "null", 4) == 0)
		return at + 4;
	if (strncmp(at, "false", 5) == 0)
		return at + 5;
	at += strspn(at, "-0123456789.eE+");
	return at == from || (from[0] == '0' && isdigit((unsigned char)from[1])) ? NULL : at;
}

START_TEST(json_is_one_object_with_the_counters_of_each_pool)
{
	tide_pool *one = used_pool("conns");
	tide_pool *two = used_pool("a_b.c-d");
	tide_pool *twin = used_pool("conns");
	const char *end;

	ck_assert_int_gt(tide_stats_format(text, sizeof(text), TIDE_JSON), 0);
	ck_assert_int_eq(text[0], '{');
	end = read_json(text);
	ck_assert_msg(end != NULL, "not JSON: %.300s", text);
	ck_assert_uint_eq(strlen(end), strspn(end, "\n"));
	ck_assert_ptr_nonnull(strstr(text, "\"conns\""));
	ck_assert_ptr_nonnull(strstr(text, "\"conns#2\""));
	ck_assert_ptr_nonnull(strstr(text, "\"a_b.c-d\""));
	static const char *const keys[] = { "gets",         "puts",         "hits",
					    "refills",      "flushes",      "remote_puts",
					    "created",      "released",     "live_objects",
					    "idle_objects", "live_bytes",   "idle_bytes",
					    "gc_percent",   "memory_limit", "nodes" };
	for (size_t i = 0; i < LENGTH(keys); i++) {
		char key[40];

		snprintf(key, sizeof(key), "\"%s\"", keys[i]);
		ck_assert_msg(strstr(text, key) != NULL, "no %s in JSON", key);
	}
	end_pool(one);
	end_pool(two);
	end_pool(twin);
}
END_TEST

/* Every sample has its # TYPE before it, names and labels are legal, no series twice. */
START_TEST(prometheus_text_has_a_type_for_each_sample_and_no_series_twice)
{
	tide_pool *one = used_pool("conns");
	tide_pool *twin = used_pool("conns");
	char type[128] = "";
	char *line, *next;

	ck_assert_int_gt(tide_stats_format(text, sizeof(text), TIDE_PROMETHEUS), 0);
	strcpy(whole, text);
	for (line = text; *line != '\0'; line = next) {
		size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz_");
		char series[256];

		next = strchr(line, '\n');
		ck_assert_msg(next != NULL, "the last line has no end");
		*next++ = '\0';
		if (strncmp(line, "# TYPE ", 7) == 0) {
			ck_assert_int_eq(sscanf(line + 7, "%127s", type), 1);
			ck_assert(strstr(line, " counter") || strstr(line, " gauge"));
			continue;
		}
		if (line[0] == '#')
			continue;
		ck_assert_msg(strncmp(line, "tidepool_", 9) == 0, "name of: %s", line);
		ck_assert_msg(strlen(type) == name && strncmp(line, type, name) == 0,
			      "no # TYPE before: %s", line);
		ck_assert_msg(line[name] == '{' || line[name] == ' ', "series of: %s", line);
		snprintf(series, sizeof(series), "\n%.*s ", (int)(strrchr(line, ' ') - line), line);
		char *first = strstr(whole, series);

		ck_assert_msg(first != NULL && strstr(first + 1, series) == NULL, "twice: %s",
			      line);
	}
	end_pool(one);
	end_pool(twin);
}
END_TEST

static bool
has_program(const char *name)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null 2>&1", name);
	return system(command) == 0;
}

/* What the program says to text[] on its standard input: its exit status. */
static int
feed(const char *command)
{
	FILE *program = popen(command, "w");

	ck_assert_ptr_nonnull(program);
	ck_assert(fputs(text, program) >= 0);
	return pclose(program);
}

START_TEST(promtool_and_jq_find_nothing_wrong)
{
	tide_pool *one = used_pool("conns");
	tide_pool *twin = used_pool("conns");

	if (has_program("promtool")) {
		ck_assert_int_gt(tide_stats_format(text, sizeof(text), TIDE_PROMETHEUS), 0);
		ck_assert_int_eq(feed("promtool check metrics >&2"), 0);
	} else {
		printf("skipped: no promtool\n");
	}
	if (has_program("jq")) {
		ck_assert_int_gt(tide_stats_format(text, sizeof(text), TIDE_JSON), 0);
		ck_assert_int_eq(feed("jq -e 'type == \"object\"' >/dev/null"), 0);
	} else {
		printf("skipped: no jq\n");
	}
	end_pool(one);
	end_pool(twin);
}
END_TEST

/* ---- print ---------------------------------------------------------------- */

START_TEST(print_writes_what_format_does)
{
	tide_pool *pool = used_pool("print");

	for (size_t f = 0; f < LENGTH(formats); f++) {
		int file = memfd_create("stats", MFD_CLOEXEC);
		int n = tide_stats_format(whole, sizeof(whole), formats[f]);

		ck_assert_int_eq(tide_stats_print(file, formats[f]), 0);
		memset(text, 0, (size_t)n + 64);
		ck_assert_int_eq(pread(file, text, sizeof(text), 0), n);
		ck_assert_str_eq(text, whole);
		close(file);
	}
	end_pool(pool);
}
END_TEST

START_TEST(print_to_a_bad_descriptor_is_its_errno)
{
	tide_pool *pool = used_pool("print");
	int file = dup(1);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	int ends[2];

	close(file);
	ck_assert_int_eq(tide_stats_print(file, TIDE_TEXT), -EBADF);
	ck_assert_int_eq(tide_stats_print(-1, TIDE_JSON), -EBADF);
	if (full >= 0)
		ck_assert_int_eq(tide_stats_print(full, TIDE_TEXT), -ENOSPC);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(ends), 0);
	close(ends[0]);
	ck_assert_int_eq(tide_stats_print(ends[1], TIDE_TEXT), -EPIPE);
	end_pool(pool);
}
END_TEST

START_TEST(print_to_a_full_pipe_that_does_not_block_is_eagain)
{
	tide_pool *pool = used_pool("print");
	int ends[2];

	ck_assert_int_eq(pipe2(ends, O_NONBLOCK), 0);
	while (write(ends[1], text, 4096) > 0)
		continue;
	while (write(ends[1], text, 1) > 0)
		continue;
	ck_assert_int_eq(tide_stats_print(ends[1], TIDE_TEXT), -EAGAIN);
	end_pool(pool);
}
END_TEST

static void *
drain_slowly(void *arg)
{
	static char read_back[sizeof(text)];
	const int *ends = arg;
	size_t len = 0;
	ssize_t n;

	while ((n = read(ends[0], read_back + len, 100)) > 0) {
		len += (size_t)n;
		if (len % 5000 < 100)
			sleep_ms(1);
	}
	read_back[len] = '\0';
	return read_back;
}

/* More than the pipe holds: print goes on where a write was short, or was interrupted. */
START_TEST(print_to_a_pipe_smaller_than_the_text_writes_all)
{
	enum { POOLS = 60 };
	tide_pool *pools[POOLS];
	pthread_t thread;
	void *read_back;
	int ends[2];
	int n;

	for (unsigned i = 0; i < POOLS; i++)
		pools[i] = used_pool("print");
	ck_assert_int_eq(pipe(ends), 0);
	fcntl(ends[1], F_SETPIPE_SZ, 4096);
	n = tide_stats_format(whole, sizeof(whole), TIDE_PROMETHEUS);
	ck_assert_int_gt(n, 8192);
	thread = start(drain_slowly, ends);
	ck_assert_int_eq(tide_stats_print(ends[1], TIDE_PROMETHEUS), 0);
	close(ends[1]);
	ck_assert_int_eq(pthread_join(thread, &read_back), 0);
	ck_assert_str_eq(read_back, whole);
	for (unsigned i = 0; i < POOLS; i++)
		end_pool(pools[i]);
}

int
main(void)
{
	const TTest *const tests[] = {
		format_writes_as_snprintf_would,
		an_unknown_format_is_einval,
		formats_are_good_without_any_pool_and_before_init,
		json_is_one_object_with_the_counters_of_each_pool,
		prometheus_text_has_a_type_for_each_sample_and_no_series_twice,
		promtool_and_jq_find_nothing_wrong,
		print_writes_what_format_does,
		print_to_a_bad_descriptor_is_its_errno,
		print_to_a_full_pipe_that_does_not_block_is_eagain,
		print_to_a_pipe_smaller_than_the_text_writes_all,
	};

	return run_tests("pool_formats", tests, LENGTH(tests));
}
