/* SPDX-License-Identifier: MIT */
/* metrics.c - sums the workers' counters, and prints them after the library's. */
#include "metrics.h"

#include "server.h"
#include "worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int __attribute__((format(printf, 3, 4)))
print(struct chain *out, struct alloc *alloc, const char *format, ...)
{
	char line[320]; /* the longest below is some 250 */
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= sizeof(line))
		return -EINVAL;
	return chain_append(out, alloc, line, (size_t)n);
}

static int
write_library(struct alloc *alloc, struct chain *out)
{
	int len = tide_stats_format(NULL, 0, TIDE_PROMETHEUS);

	/* A pool that comes between two calls makes it longer: try again then. */
	while (len > 0) {
		size_t bytes = (size_t)len + 1;
		char *text = malloc(bytes);
		int error;

		if (!text)
			return -ENOMEM;
		len = tide_stats_format(text, bytes, TIDE_PROMETHEUS);
		if (len >= 0 && (size_t)len < bytes) {
			error = chain_append(out, alloc, text, (size_t)len);
			free(text);
			return error;
		}
		free(text);
	}
	return len;
}

static uint64_t
sum(struct server *server, size_t offset)
{
	uint64_t total = 0;

	/* Of free slots, too: they keep what their last worker counted. */
	for (unsigned i = 0; i < server->crew.count; i++) {
		char *counters = (char *)&server->crew.slots[i].counters;

		total += atomic_load_explicit((_Atomic uint64_t *)(void *)(counters + offset),
					      memory_order_relaxed);
	}
	return total;
}

static int
write_replies(struct server *server, struct chain *out)
{
	static const char name[] = "zstd_server_replies_total";
	int error = print(out, &server->alloc,
			  "# HELP %s Replies by status code.\n# TYPE %s counter\n", name, name);

	for (size_t i = 0; i < WORKER_STATUS_COUNT && !error; i++) {
		size_t offset = offsetof(struct counters, replies) + i * sizeof(uint64_t);
		char code[12] = "other";

		if (worker_statuses[i])
			snprintf(code, sizeof(code), "%d", worker_statuses[i]);
		error = print(out, &server->alloc, "%s{code=\"%s\"} %" PRIu64 "\n", name, code,
			      sum(server, offset));
	}
	return error;
}

static int
write_number(struct server *server, struct chain *out, const char *name, const char *help,
	     const char *type, uint64_t value)
{
	return print(out, &server->alloc, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name,
		     help, name, type, name, value);
}

static const struct {
	const char *name;
	const char *help;
	size_t offset;
} totals[] = {
	{ "zstd_server_connections_total", "Connections accepted.",
	  offsetof(struct counters, opened) },
	{ "zstd_server_refused_connections_total", "Connections closed for lack of memory.",
	  offsetof(struct counters, refused) },
	{ "zstd_server_idle_closes_total", "Connections closed for being idle.",
	  offsetof(struct counters, idle) },
	{ "zstd_server_stale_callbacks_total",
	  "Callbacks and messages for connections that were closed already.",
	  offsetof(struct counters, stale) },
	{ "zstd_server_body_bytes_total", "Bytes that were compressed.",
	  offsetof(struct counters, body_bytes) },
	{ "zstd_server_frame_bytes_total", "Bytes they were compressed to.",
	  offsetof(struct counters, frame_bytes) },
};

/* In this order: what ends in between must not make a difference negative. */
static int
write_crew(struct server *server, struct chain *out)
{
	uint64_t left = atomic_load_explicit(&server->crew.left, memory_order_relaxed);
	uint64_t restarts = atomic_load_explicit(&server->crew.restarts, memory_order_relaxed);
	uint64_t hired = atomic_load_explicit(&server->crew.hired, memory_order_relaxed);
	int error = write_number(server, out, "zstd_server_workers_started_total",
				 "Worker threads that were started.", "counter", hired);

	if (!error)
		error = write_number(server, out, "zstd_server_workers", "Worker threads now.",
				     "gauge", hired - left);
	if (!error)
		error = write_number(server, out, "zstd_server_restarts_total",
				     "Times that all workers were replaced.", "counter", restarts);
	return error;
}

int
metrics_write(struct server *server, struct chain *out)
{
	int error = write_library(&server->alloc, out);

	for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]) && !error; i++)
		error = write_number(server, out, totals[i].name, totals[i].help, "counter",
				     sum(server, totals[i].offset));
	if (!error)
		error = write_replies(server, out);
	if (!error) {
		/* In this order: what closes in between must not make it negative. */
		uint64_t closed = sum(server, offsetof(struct counters, closed));
		uint64_t opened = sum(server, offsetof(struct counters, opened));

		error = write_number(server, out, "zstd_server_connections",
				     "Connections open now.", "gauge", opened - closed);
	}
	if (!error)
		error = write_crew(server, out);
	if (!error && !server->opt.pooled)
		error = write_number(
			server, out, "zstd_server_malloc_objects_total",
			"Objects made with malloc.", "counter",
			atomic_load_explicit(&server->alloc.made, memory_order_relaxed));
	if (!error)
		error = print(out, &server->alloc,
			      "# HELP zstd_server_info How the server runs.\n"
			      "# TYPE zstd_server_info gauge\n"
			      "zstd_server_info{allocator=\"%s\",threads=\"%u\"} 1\n",
			      server->opt.pooled ? "pool" : "malloc", server->opt.threads);
	return error;
}
