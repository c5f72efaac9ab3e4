/* SPDX-License-Identifier: MIT */
/* pool_stats.c - counters are exact at quiet points, and their three formats are what they say. */
#include "common.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>

/* ---- counters ------------------------------------------------------------- */

START_TEST(counters_are_exact_at_quiet_points)
{
	tide_pool *pool = NEW_POOL("exact", 100, .flags = 0);
	struct tide_pool_stats stats = stats_of(pool);
	void *objs[300];
	tide_ref ref;

	ck_assert_msg(is_all(&stats.gets, sizeof(stats.gets) * 7, 0), "a new pool did something");
	ck_assert_uint_eq(stats.created + stats.released + stats.live_objects, 0);
	for (unsigned i = 0; i < 300; i++)
		objs[i] = tide_get(pool);
	for (unsigned i = 0; i < 200; i++)
		tide_put(pool, objs[i]);
	for (unsigned i = 200; i < 210; i++)
		tide_discard(pool, objs[i]);
	objs[0] = tide_get_ref(pool, &ref);
	ck_assert_ptr_eq(tide_pin(pool, ref), objs[0]);
	tide_put(pool, objs[0]); /* pinned: counts as live */
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.gets, 301);
	ck_assert_uint_eq(stats.created, 300);
	ck_assert_uint_eq(stats.released, 10);
	ck_assert_uint_eq(stats.discards, 10);
	ck_assert_uint_eq(stats.live_objects, 91);
	ck_assert_uint_eq(stats.idle_objects, 199);
	ck_assert_uint_eq(stats.live_bytes, 9100);
	ck_assert_uint_eq(stats.idle_bytes, 19900);
	ck_assert_uint_eq(stats.failed_gets + stats.broken + stats.remote_puts, 0);
	ck_assert_uint_ge(stats.committed_bytes, 290 * 100);
	ck_assert_uint_eq(stats.caches, 1);
	ck_assert_uint_ge(stats.magazine_objects, 1);
	tide_unpin(pool, objs[0]);
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.puts, 201);
	ck_assert_uint_eq(stats.live_objects, 90);
	for (unsigned i = 210; i < 300; i++)
		tide_put(pool, objs[i]);
	ck_assert_uint_eq(stats_of(pool).puts, 291);
	end_pool(pool);
}
END_TEST

START_TEST(a_get_served_by_the_threads_magazines_is_a_hit)
{
	tide_pool *pool = NEW_POOL("hits", 64, .flags = 0);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 1000; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.gets, 1000);
	ck_assert_uint_ge(stats.hits, 990);
	ck_assert_uint_lt(stats.hits, 1000); /* the first one was made */
	ck_assert_uint_eq(stats.local_gets, 1000);
	end_pool(pool);
}
END_TEST

/* Large objects have no thread caches. */
START_TEST(objects_of_64_kib_and_more_have_no_thread_cache)
{
	tide_pool *pool = NEW_POOL("large", 64 * KIB, .flags = 0);
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 10; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	ck_assert_uint_eq(stats.magazine_objects, 0);
	ck_assert_uint_eq(stats.hits, 0);
	ck_assert_uint_eq(stats.gets, 10);
	ck_assert_uint_eq(stats.created, 1);
	end_pool(pool);
}
END_TEST

START_TEST(a_cache_holds_at_most_256_kib)
{
	static const size_t sizes[] = { 8, 64, 1000, 4096, 32768, 65000 };

	for (size_t i = 0; i < LENGTH(sizes); i++) {
		tide_pool *pool = NEW_POOL("cache", sizes[i], .flags = 0);

		tide_put(pool, tide_get(pool));
		ck_assert_uint_le(2 * stats_of(pool).magazine_objects * sizes[i], 256 * KIB);
		end_pool(pool);
	}
}
END_TEST

START_TEST(the_process_sums_its_pools)
{
	tide_pool *pools[3];
	struct tide_stats all;
	uint64_t committed = 0;
	void *objs[3];

	setenv("TIDENUMA", "fake=3", 1);
	setenv("TIDEGC", "250", 1);
	setenv("TIDEMEMLIMIT", "3GiB", 1);
	for (unsigned i = 0; i < 3; i++) {
		pools[i] = NEW_POOL("sum", 100, .flags = 0);
		objs[i] = tide_get(pools[i]);
		tide_put(pools[i], tide_get(pools[i]));
		committed += stats_of(pools[i]).committed_bytes;
	}
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.gets, 6);
	ck_assert_uint_eq(all.puts, 3);
	ck_assert_uint_eq(all.created, 6);
	ck_assert_uint_eq(all.live_objects, 3);
	ck_assert_uint_eq(all.idle_objects, 3);
	ck_assert_uint_eq(all.live_bytes, 300);
	ck_assert_uint_eq(all.idle_bytes, 300);
	ck_assert_uint_eq(all.pools, 3);
	ck_assert_uint_eq(all.threads, 1);
	ck_assert_uint_eq(all.nodes, 3);
	ck_assert_uint_eq(all.misuses, 0);
	ck_assert_int_eq(all.gc_percent, 250);
	ck_assert_int_eq(all.memory_limit, INT64_C(3) << 30);
	ck_assert_uint_ge(all.committed_bytes, committed);
	for (unsigned i = 0; i < 3; i++) {
		tide_put(pools[i], objs[i]);
		end_pool(pools[i]);
	}
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.pools + all.gets + all.created + all.idle_objects, 0);
}
END_TEST

START_TEST(misuses_are_counted)
{
	tide_pool *pool = NEW_POOL("misuse", 64, .flags = 0);
	struct seen seen = { 0 };
	struct tide_stats all;

	tide_set_misuse_handler(see_report, &seen);
	for (unsigned i = 0; i < 5; i++)
		tide_put(pool, &seen);
	tide_stats_read(&all, sizeof(all));
	ck_assert_uint_eq(all.misuses, 5);
	ck_assert_uint_eq(stats_of(pool).puts, 0);
	end_pool(pool);
}
END_TEST

static _Atomic bool stop;

static void *
work(void *arg)
{
	unsigned n = 0;

	while (!stop) {
		void *objs[200];

		n = n * 7 % 200 + 1;
		if (tide_get_bulk(arg, objs, n) == 0)
			tide_put_bulk(arg, objs, n);
		void *obj = tide_get(arg);

		if (obj != NULL && n % 5 == 0)
			tide_discard(arg, obj);
		else
			tide_put(arg, obj);
		if (n % 50 == 0)
			tide_thread_flush();
	}
	return NULL;
}

static void *
come_and_go(void *arg)
{
	tide_put(arg, tide_get(arg));
	return NULL;
}

static void
expect_growth(const struct tide_pool_stats *before, const struct tide_pool_stats *now)
{
#define GROWS(field)                                                                               \
	ck_assert_msg(now->field >= before->field, #field " fell from %llu to %llu",               \
		      (unsigned long long)before->field, (unsigned long long)now->field)
	GROWS(gets);
	GROWS(puts);
	GROWS(hits);
	GROWS(refills);
	GROWS(flushes);
	GROWS(remote_puts);
	GROWS(created);
	GROWS(released);
	GROWS(discards);
	GROWS(broken);
	GROWS(failed_gets);
	GROWS(local_gets);
	GROWS(contended);
#undef GROWS
}

START_TEST(counters_only_grow_while_threads_work_come_and_go)
{
	enum { SAMPLES = 2000 };
	struct tide_pool_stats before = { 0 }, now;
	tide_pool *pool;
	pthread_t threads[3];

	setenv("TIDENUMA", "fake=2", 1);
	pool = NEW_POOL("grow", 64, .max_bytes = 64 * 1000);
	for (unsigned i = 0; i < 3; i++)
		threads[i] = start(work, pool);
	for (unsigned i = 0; i < ROUNDS(SAMPLES); i++) {
		if (i % 20 == 0)
			run_thread(come_and_go, pool);
		now = stats_of(pool);
		expect_growth(&before, &now);
		/* Near enough: never negative numbers, never above the cap by much. */
		ck_assert_uint_lt(now.live_objects, 2000);
		ck_assert_uint_lt(now.idle_objects, 2000);
		before = now;
	}
	stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(now.gets, 0);
	end_pool(pool);
}
END_TEST

/* ---- older and newer structs ---------------------------------------------- */

START_TEST(stats_are_filled_up_to_the_size_given)
{
	tide_pool *pool = NEW_POOL("sized", 64, .flags = 0);
	unsigned char bytes[sizeof(struct tide_pool_stats) + 64];
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < 50; i++)
		tide_put(pool, tide_get(pool));
	stats = stats_of(pool);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		size_t known = n < sizeof(stats) ? n : sizeof(stats);

		memset(bytes, 0xee, sizeof(bytes));
		tide_pool_stats_read(pool, (struct tide_pool_stats *)(void *)bytes, n);
		ck_assert_msg(memcmp(bytes, &stats, known) == 0, "of %zu bytes", n);
		ck_assert_msg(is_all(bytes + known, n - known, 0), "past what is known: %zu", n);
		ck_assert_msg(is_all(bytes + n, sizeof(bytes) - n, 0xee), "past the end: %zu", n);
	}
	end_pool(pool);
}
END_TEST

START_TEST(the_process_stats_are_filled_up_to_the_size_given)
{
	tide_pool *pool = NEW_POOL("sized", 64, .flags = 0);
	unsigned char bytes[sizeof(struct tide_stats) + 64];
	struct tide_stats stats;

	tide_put(pool, tide_get(pool));
	tide_stats_read(&stats, sizeof(stats));
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		size_t known = n < sizeof(stats) ? n : sizeof(stats);

		memset(bytes, 0xee, sizeof(bytes));
		tide_stats_read((struct tide_stats *)(void *)bytes, n);
		ck_assert_msg(memcmp(bytes, &stats, known) == 0, "of %zu bytes", n);
		ck_assert_msg(is_all(bytes + known, n - known, 0), "past what is known: %zu", n);
		ck_assert_msg(is_all(bytes + n, sizeof(bytes) - n, 0xee), "past the end: %zu", n);
	}
	end_pool(pool);
}
END_TEST

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
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		counters_are_exact_at_quiet_points,
		a_get_served_by_the_threads_magazines_is_a_hit,
		objects_of_64_kib_and_more_have_no_thread_cache,
		a_cache_holds_at_most_256_kib,
		the_process_sums_its_pools,
		misuses_are_counted,
		counters_only_grow_while_threads_work_come_and_go,
		stats_are_filled_up_to_the_size_given,
		the_process_stats_are_filled_up_to_the_size_given,
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

	return run_tests("pool_stats", tests, LENGTH(tests));
}
