/* SPDX-License-Identifier: MIT */
/* reply.c - what each resource answers, and the head of every response. */
#include "reply.h"

#include "compress.h"
#include "metrics.h"
#include "server.h"
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char plain[] = "text/plain; charset=utf-8";

static void
set_text(struct reply *reply, int status, const char *text)
{
	reply->status = status;
	reply->type = plain;
	reply->text_len = (size_t)snprintf(reply->text, sizeof(reply->text), "%s\n", text);
}

static void
set_failure(struct reply *reply, int error)
{
	if (error == -ENOMEM)
		set_text(reply, HTTP_STATUS_SERVICE_UNAVAILABLE, "no memory for the answer");
	else
		set_text(reply, HTTP_STATUS_INTERNAL_SERVER_ERROR, "the body was not compressed");
}

static void
make_body(struct reply *reply, struct worker *worker, const struct request *request)
{
	struct server *server = worker->server;
	int error = 0;

	switch (request->route) {
	case ROUTE_COMPRESS:
		error = compress_chain(&server->alloc, &request->body, request->level,
				       &reply->body);
		reply->type = "application/zstd";
		break;
	case ROUTE_METRICS:
		error = metrics_write(server, &reply->body);
		reply->type = "text/plain; version=0.0.4";
		break;
	case ROUTE_READY:
		if (atomic_load_explicit(&server->stopping, memory_order_relaxed))
			set_text(reply, HTTP_STATUS_SERVICE_UNAVAILABLE, "shutting down");
		else
			set_text(reply, HTTP_STATUS_OK, "ready");
		return;
	default:
		set_text(reply, HTTP_STATUS_OK, "live");
		return;
	}
	reply->status = HTTP_STATUS_OK;
	if (error) {
		chain_clear(&reply->body, &server->alloc);
		set_failure(reply, error);
	}
}

static void
make_head(struct reply *reply, struct worker *worker, const struct request *request)
{
	bool allow = reply->status == HTTP_STATUS_METHOD_NOT_ALLOWED;
	const char *connection = "";

	/* 1.1 keeps alive unless told otherwise, 1.0 the other way round. */
	if (!reply->keep_alive)
		connection = "Connection: close\r\n";
	else if (request->parser.http_minor == 0)
		connection = "Connection: keep-alive\r\n";

	reply->head_len = (size_t)snprintf(
		reply->head, sizeof(reply->head),
		"HTTP/1.1 %d %s\r\n"
		"Date: %s\r\n"
		"Content-Type: %s\r\n"
		"Content-Length: %zu\r\n"
		"%s%s%s%s%s\r\n",
		reply->status, http_status_str((enum http_status)reply->status),
		worker_date(worker), reply->type, reply->text_len + reply->body.bytes, connection,
		allow ? "Allow: " : "", allow ? request->allow : "", allow ? "\r\n" : "",
		reply->status == HTTP_STATUS_SERVICE_UNAVAILABLE ? "Retry-After: 1\r\n" : "");
}

void
reply_make(struct reply *reply, struct worker *worker, const struct request *request)
{
	reply->keep_alive = request->complete && request->keep_alive && !worker->stopping;
	if (request->status)
		set_text(reply, request->status, request->why);
	else
		make_body(reply, worker, request);
	worker_count_reply(worker, request, reply);
	make_head(reply, worker, request);
	if (request->parser.method == HTTP_HEAD) {
		reply->text_len = 0;
		chain_clear(&reply->body, &worker->server->alloc);
	}
}
