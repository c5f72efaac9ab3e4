/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one connection: reads a request, writes its reply, and again.
 *
 * It belongs to its worker: no other thread may touch it. Nothing is read while
 * a reply is being written; bytes of the next request that came with the last
 * one wait in their block.
 */
#ifndef CONN_H
#define CONN_H

#include "chain.h"
#include "reply.h"
#include "request.h"

#include <tide.h>
#include <uv.h>

enum conn_state {
	CONN_READING,
	CONN_WRITING,
	CONN_LINGERING, /* all is said; waits for the client to close */
};

struct conn {
	uv_tcp_t tcp;
	uv_write_t write;
	uv_write_t interim; /* of a 100 Continue */
	uv_shutdown_t shutdown;
	struct worker *worker;
	struct conn *prev; /* in worker->conns */
	struct conn *next;
	enum conn_state state;
	uint64_t linger_until_ms;

	struct block *in;  /* what was read last, NULL between reads */
	const char *bytes; /* in->bytes, or spare */
	size_t at;         /* bytes[at .. len) are not parsed yet */
	size_t len;

	struct request request;
	struct reply reply;
	unsigned sending; /* blocks of reply.body that are being written */
	char spare[1024]; /* reads go here when there is no memory for a block */
};

tide_reset_fn conn_reset;
tide_fini_fn conn_fini;

/*
 * A new connection without a socket, on the worker's list. Give it one with
 * uv_accept() or uv_tcp_open(), then conn_start() or conn_close() it.
 * NULL: no memory.
 */
struct conn *conn_open(struct worker *worker);
void conn_start(struct conn *conn);

/* Closes it now; it goes back to where it came from when libuv is done with it. */
void conn_close(struct conn *conn);

/* The worker is shutting down: closes it if no request has begun. */
void conn_stop(struct conn *conn);

/* Closes it if it has lingered long enough; true if it goes on lingering. */
bool conn_tick(struct conn *conn, uint64_t now_ms);

#endif
