/* SPDX-License-Identifier: MIT */
/*
 * The statistics as text for people, as JSON, and in Prometheus' text
 * exposition format 0.0.4.
 *
 * The fields are listed once, in the two tables below, with all that any of the
 * three formats needs of them. They may be read as 64-bit words at their
 * offsets: nothing else is in those structs, and the table lengths prove it.
 *
 * Prometheus leaves out the sums over pools: they would count twice beside the
 * series they are made of, and a sum over the pools that exist falls when a
 * pool is destroyed, which a counter may not.
 */
#include "config.h"

#include "pool/tide.h"
#include "pool/snapshot.h"
#include "pool/thread.h"
#include "numa/record.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum unit {
	OBJS, /* or whatever is counted */
	BYTES,
	PERCENT, /* signed; negative = off */
	LIMIT,   /* bytes; INT64_MAX = off */
};

struct field {
	size_t offset;
	const char *name;   /* in JSON, and in the text's process summary */
	const char *column; /* in the text's table of pools; NULL = not there */
	const char *metric; /* in Prometheus, a counter if it ends in _total; NULL = not there */
	enum unit unit;
	const char *help;
};

/* clang-format off */
#define SUM(field, unit) \
	{ offsetof(struct tide_stats, field), #field, NULL, NULL, unit, NULL }
#define PROCESS(field, metric, unit, help) \
	{ offsetof(struct tide_stats, field), #field, NULL, "tidepool_" metric, unit, help }
#define POOL(field, column, metric, unit, help) \
	{ offsetof(struct tidep_snapshot, stats.field), #field, column, \
	  "tidepool_pool_" metric, unit, help }

static const struct field process_fields[] = {
	SUM(gets, OBJS),
	SUM(puts, OBJS),
	SUM(hits, OBJS),
	SUM(refills, OBJS),
	SUM(flushes, OBJS),
	SUM(remote_puts, OBJS),
	SUM(created, OBJS),
	SUM(released, OBJS),
	SUM(live_objects, OBJS),
	SUM(idle_objects, OBJS),
	SUM(live_bytes, BYTES),
	SUM(idle_bytes, BYTES),
	PROCESS(committed_bytes, "committed_bytes", BYTES,
		"Memory held for slots, slot words and magazines."),
	PROCESS(gc_percent, "gc_percent", PERCENT,
		"Idle memory allowed, in percent of live memory; +Inf is off."),
	PROCESS(memory_limit, "memory_limit_bytes", LIMIT,
		"Soft limit for all memory of tidepool; +Inf is off."),
	PROCESS(nodes, "nodes", OBJS, "NUMA nodes, real or pretended."),
	PROCESS(pools, "pools", OBJS, "Pools that exist."),
	PROCESS(threads, "threads", OBJS, "Threads that have caches."),
	PROCESS(misuses, "misuses_total", OBJS, "Reports of misuse."),
	PROCESS(decommit_failures, "decommit_failures_total", OBJS,
		"Times the kernel would not take memory back."),
	PROCESS(bind_failures, "bind_failures_total", OBJS,
		"Times the kernel would not bind memory to its node."),
	PROCESS(slow_gates, "slow_gates", OBJS,
		"1 if there is no membarrier and cache gates cost an atomic exchange, else 0."),
};

static const struct field pool_fields[] = {
	{ offsetof(struct tidep_snapshot, object_bytes), "object_bytes", "object_bytes",
	  "tidepool_pool_object_bytes", BYTES, "Size of one object." },
	POOL(gets, "gets", "gets_total", OBJS, "Objects handed out."),
	POOL(puts, "puts", "puts_total", OBJS, "Objects taken back by a put."),
	POOL(hits, "hits", "hits_total", OBJS, "Gets served from the thread's own cache."),
	POOL(refills, NULL, "refills_total", OBJS, "Magazines taken from a depot."),
	POOL(flushes, NULL, "flushes_total", OBJS, "Magazines handed to a depot."),
	POOL(remote_puts, "remote_puts", "remote_puts_total", OBJS,
	     "Puts of objects whose memory is on another node."),
	POOL(created, "created", "created_objects_total", OBJS, "Objects made."),
	POOL(released, "released", "released_objects_total", OBJS, "Objects let go."),
	POOL(live_objects, "live", "live_objects", OBJS, "Objects handed out now."),
	POOL(idle_objects, "idle", "idle_objects", OBJS, "Objects in the pool now."),
	POOL(live_bytes, NULL, "live_bytes", BYTES, "Size of the objects handed out now."),
	POOL(idle_bytes, NULL, "idle_bytes", BYTES, "Size of the objects in the pool now."),
	POOL(discards, NULL, "discards_total", OBJS, "Objects taken back by a discard."),
	POOL(broken, "broken", "broken_objects_total", OBJS,
	     "Objects let go because their reset failed."),
	POOL(failed_gets, "failed_gets", "failed_gets_total", OBJS, "Gets that failed."),
	POOL(local_gets, NULL, "local_gets_total", OBJS,
	     "Gets whose object lies on the thread's home node."),
	POOL(committed_bytes, "committed_bytes", "committed_bytes", BYTES,
	     "Memory held for slots and their words, touched or not."),
	POOL(magazine_objects, NULL, "magazine_objects", OBJS,
	     "Capacity of a magazine; 0 if threads have no caches of the pool."),
	POOL(caches, NULL, "caches", OBJS, "Thread caches bound to the pool."),
	POOL(contended, NULL, "contended_total", OBJS, "Lost races for a depot."),
};
/* clang-format on */

static_assert(COUNT(process_fields) * sizeof(uint64_t) == sizeof(struct tide_stats),
	      "every field of tide_stats is in the table");
static_assert(COUNT(pool_fields) * sizeof(uint64_t) ==
		      sizeof(struct tidep_snapshot) - offsetof(struct tidep_snapshot, object_bytes),
	      "every field of a snapshot but its name is in the table");
static_assert(sizeof(struct tidep_snapshot) ==
		      offsetof(struct tidep_snapshot, stats) + sizeof(struct tide_pool_stats),
	      "nothing comes after the statistics");

/*
 * Where the text goes: to memory, where what does not fit is dropped but
 * counted, or through a small buffer to a file descriptor.
 */
struct sink {
	char *dst;
	size_t dst_bytes;
	size_t held;  /* bytes in dst */
	size_t total; /* bytes of the whole text so far */
	bool to_fd;
	int fd;
	int err; /* what the fd said, negative; nothing is written after it */
};

static void
flush_sink(struct sink *sink)
{
	size_t done = 0;

	while (done < sink->held && !sink->err) {
		ssize_t written = write(sink->fd, sink->dst + done, sink->held - done);

		if (written > 0)
			done += (size_t)written;
		else if (written == 0)
			sink->err = -EIO;
		else if (errno != EINTR)
			sink->err = -errno;
	}
	sink->held = 0;
}

static void
put_bytes(struct sink *sink, const char *text, size_t len)
{
	sink->total += len;
	while (len > 0 && !sink->err) {
		size_t part = sink->dst_bytes - sink->held;

		if (part == 0) {
			if (!sink->to_fd)
				return;
			flush_sink(sink);
			continue;
		}
		if (part > len)
			part = len;
		memcpy(sink->dst + sink->held, text, part);
		sink->held += part;
		text += part;
		len -= part;
	}
}

static void
put_text(struct sink *sink, const char *text)
{
	put_bytes(sink, text, strlen(text));
}

/* For short pieces: names, numbers, padding. */
static void __attribute__((format(printf, 2, 3)))
put_format(struct sink *sink, const char *format, ...)
{
	char piece[128];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(piece, sizeof(piece), format, args);
	va_end(args);
	assert(len >= 0 && (size_t)len < sizeof(piece));
	put_bytes(sink, piece, (size_t)len);
}

static uint64_t
field_value(const struct field *field, const void *record)
{
	uint64_t value;

	memcpy(&value, (const char *)record + field->offset, sizeof(value));
	return value;
}

static bool
is_off(const struct field *field, uint64_t value)
{
	return (field->unit == PERCENT && (int64_t)value < 0) ||
	       (field->unit == LIMIT && value == INT64_MAX);
}

/* ---- text ---------------------------------------------------------------- */

#define NUMBER_BYTES sizeof("-9223372036854775808") /* as long as UINT64_MAX, and its NUL */

static void
format_number(char text[NUMBER_BYTES], const struct field *field, const void *record)
{
	uint64_t value = field_value(field, record);

	if (is_off(field, value))
		strcpy(text, "off");
	else
		snprintf(text, NUMBER_BYTES, "%" PRIu64, value);
}

/* " (1.5 MiB)", rounded down; nothing below 1 KiB, where the exact number reads as well. */
static void
put_human(struct sink *sink, uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	size_t unit = 0;

	if (bytes < 1024)
		return;
	for (; bytes >= UINT64_C(1024) * 1024; bytes >>= 10)
		unit++;
	put_format(sink, " (%" PRIu64 ".%" PRIu64 " %ciB)", bytes / 1024, bytes % 1024 * 10 / 1024,
		   units[unit]);
}

static void
put_process_text(struct sink *sink, const struct tide_stats *stats)
{
	put_text(sink, "tidepool\n");
	for (size_t i = 0; i < COUNT(process_fields); i++) {
		const struct field *field = &process_fields[i];
		uint64_t value = field_value(field, stats);
		char number[NUMBER_BYTES];

		format_number(number, field, stats);
		put_format(sink, "  %-17s %20s", field->name, number);
		if ((field->unit == BYTES || field->unit == LIMIT) && !is_off(field, value))
			put_human(sink, value);
		put_text(sink, "\n");
	}
}

/* Hits of 100 gets, rounded down: 100.0 means every one. */
static void
format_hit_rate(char text[NUMBER_BYTES], const struct tide_pool_stats *stats)
{
	uint64_t tenths;

	if (stats->gets == 0) {
		strcpy(text, "-");
		return;
	}
	tenths = (uint64_t)((double)stats->hits * 1000 / (double)stats->gets);
	if (tenths > 1000)
		tenths = 1000; /* the two were not read at one instant */
	snprintf(text, NUMBER_BYTES, "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
}

/* Each column is as wide as its widest entry, so the pools are gone through twice. */
static void
put_text_all(struct sink *sink, const struct tide_stats *stats, const struct tidep_snapshot *pools,
	     size_t pool_count)
{
	int widths[COUNT(pool_fields)], name_width = (int)strlen("pool");
	char number[NUMBER_BYTES];

	put_process_text(sink, stats);
	if (pool_count == 0)
		return;
	for (size_t i = 0; i < COUNT(pool_fields); i++)
		widths[i] = pool_fields[i].column ? (int)strlen(pool_fields[i].column) : 0;
	for (size_t p = 0; p < pool_count; p++) {
		if (name_width < (int)strlen(pools[p].name))
			name_width = (int)strlen(pools[p].name);
		for (size_t i = 0; i < COUNT(pool_fields); i++) {
			format_number(number, &pool_fields[i], &pools[p]);
			if (widths[i] < (int)strlen(number))
				widths[i] = (int)strlen(number);
		}
	}

	put_format(sink, "\n%-*s", name_width, "pool");
	for (size_t i = 0; i < COUNT(pool_fields); i++)
		if (pool_fields[i].column)
			put_format(sink, "  %*s", widths[i], pool_fields[i].column);
	put_text(sink, "   hit%\n");
	for (size_t p = 0; p < pool_count; p++) {
		put_format(sink, "%-*s", name_width, pools[p].name);
		for (size_t i = 0; i < COUNT(pool_fields); i++) {
			if (!pool_fields[i].column)
				continue;
			format_number(number, &pool_fields[i], &pools[p]);
			put_format(sink, "  %*s", widths[i], number);
		}
		format_hit_rate(number, &pools[p].stats);
		put_format(sink, "  %5s\n", number);
	}
}

/* ---- JSON ---------------------------------------------------------------- */

static void
put_json_string(struct sink *sink, const char *text)
{
	put_text(sink, "\"");
	for (; *text; text++) {
		if ((unsigned char)*text < ' ')
			put_format(sink, "\\u%04x", (unsigned)*text);
		else if (*text == '"' || *text == '\\')
			put_format(sink, "\\%c", *text);
		else
			put_bytes(sink, text, 1);
	}
	put_text(sink, "\"");
}

/* Numbers as the structs have them: programs know what -1 and INT64_MAX stand for. */
static void
put_json_fields(struct sink *sink, const struct field *fields, size_t count, const void *record,
		bool is_first)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t value = field_value(&fields[i], record);

		put_format(sink, "%s\"%s\":", is_first && i == 0 ? "" : ",", fields[i].name);
		if (fields[i].unit == PERCENT || fields[i].unit == LIMIT)
			put_format(sink, "%" PRId64, (int64_t)value);
		else
			put_format(sink, "%" PRIu64, value);
	}
}

static void
put_json_all(struct sink *sink, const struct tide_stats *stats, const struct tidep_snapshot *pools,
	     size_t pool_count)
{
	put_text(sink, "{\"tidepool\":{");
	put_json_fields(sink, process_fields, COUNT(process_fields), stats, true);
	put_text(sink, "},\n\"pools\":[");
	for (size_t p = 0; p < pool_count; p++) {
		put_text(sink, p == 0 ? "\n{\"name\":" : ",\n{\"name\":");
		put_json_string(sink, pools[p].name);
		put_json_fields(sink, pool_fields, COUNT(pool_fields), &pools[p], false);
		put_text(sink, "}");
	}
	put_text(sink, "]}\n");
}

/* ---- Prometheus ---------------------------------------------------------- */

static void
put_label_value(struct sink *sink, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			put_text(sink, "\\n");
		else if (*text == '"' || *text == '\\')
			put_format(sink, "\\%c", *text);
		else
			put_bytes(sink, text, 1);
	}
}

static void
put_metric_head(struct sink *sink, const struct field *field)
{
	static const char counter_end[] = "_total";
	size_t end_len = sizeof(counter_end) - 1, len = strlen(field->metric);
	bool is_counter = len > end_len && strcmp(field->metric + len - end_len, counter_end) == 0;

	put_format(sink, "# HELP %s ", field->metric);
	put_text(sink, field->help);
	put_format(sink, "\n# TYPE %s %s\n", field->metric, is_counter ? "counter" : "gauge");
}

/*
 * A setting that is off is +Inf, not left out: a rule that compares committed
 * bytes with the limit then is false, where a missing series would silence it.
 */
static void
put_metric_value(struct sink *sink, const struct field *field, const void *record)
{
	uint64_t value = field_value(field, record);

	if (is_off(field, value))
		put_text(sink, " +Inf\n");
	else
		put_format(sink, " %" PRIu64 "\n", value);
}

/* The format wants all series of a metric together, so the pools are the inner loop. */
static void
put_prometheus_all(struct sink *sink, const struct tide_stats *stats,
		   const struct tidep_snapshot *pools, size_t pool_count)
{
	for (size_t i = 0; i < COUNT(process_fields); i++) {
		const struct field *field = &process_fields[i];

		if (!field->metric)
			continue;
		put_metric_head(sink, field);
		put_text(sink, field->metric);
		put_metric_value(sink, field, stats);
	}
	for (size_t i = 0; i < COUNT(pool_fields) && pool_count > 0; i++) {
		const struct field *field = &pool_fields[i];

		put_metric_head(sink, field);
		for (size_t p = 0; p < pool_count; p++) {
			put_format(sink, "%s{pool=\"", field->metric);
			put_label_value(sink, pools[p].name);
			put_text(sink, "\"}");
			put_metric_value(sink, field, &pools[p]);
		}
	}
}

/* ---- all three ----------------------------------------------------------- */

/* All pools at one moment, to be freed by tidep_numa_record_free(); NULL: no memory. */
static struct tidep_snapshot *
take_snapshot(size_t *pool_count)
{
	struct tidep_snapshot *pools;
	size_t count, max;

	tidep_pool_hide();
	count = tidep_pool_snapshot(NULL, 0);
	for (;;) {
		/* Some more, since pools may appear before the next look. */
		max = count + count / 4 + 8;
		pools = tidep_numa_record_alloc(max * sizeof(*pools));
		if (!pools)
			break;
		count = tidep_pool_snapshot(pools, max);
		if (count <= max)
			break;
		tidep_numa_record_free(pools);
	}
	tidep_pool_unhide();
	*pool_count = count;
	return pools;
}

static int
put_all(struct sink *sink, uint32_t format)
{
	static void (*const put[])(struct sink *, const struct tide_stats *,
				   const struct tidep_snapshot *, size_t) = {
		[TIDE_TEXT] = put_text_all,
		[TIDE_JSON] = put_json_all,
		[TIDE_PROMETHEUS] = put_prometheus_all,
	};
	struct tidep_snapshot *pools;
	struct tide_stats stats;
	size_t pool_count;

	if (format >= COUNT(put))
		return -EINVAL;
	if (tidep_pool_is_reentered(NULL, NULL, "a statistics call"))
		return -EDEADLK;
	pools = take_snapshot(&pool_count);
	if (!pools)
		return -ENOMEM;
	tide_stats_read(&stats, sizeof(stats));
	put[format](sink, &stats, pools, pool_count);
	tidep_pool_hide();
	tidep_numa_record_free(pools);
	tidep_pool_unhide();
	return 0;
}

int
tide_stats_format(char *dst, size_t dst_bytes, uint32_t format)
{
	struct sink sink = { .dst = dst, .dst_bytes = dst_bytes > 0 ? dst_bytes - 1 : 0 };
	int err = put_all(&sink, format);

	if (dst_bytes > 0)
		dst[sink.held] = '\0';
	if (err)
		return err;
	return sink.total <= INT_MAX ? (int)sink.total : -EOVERFLOW;
}

int
tide_stats_print(int fd, uint32_t format)
{
	char buffer[4096]; /* PIPE_BUF: a pipe takes it whole */
	struct sink sink = { .dst = buffer, .dst_bytes = sizeof(buffer), .to_fd = true, .fd = fd };
	int cancel_state, err;

	/* write() is a cancellation point, and the snapshot would be lost. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	err = put_all(&sink, format);
	if (!err) {
		flush_sink(&sink);
		err = sink.err;
	}
	pthread_setcancelstate(cancel_state, NULL);
	return err;
}
