/* SPDX-License-Identifier: MIT */
/*
 * conn.h - one connection: reads a request, writes its reply, and again.
 *
 * It belongs to its worker: no other thread may touch it, but for the sweeper,
 * which asks conn_is_idle(). Nothing is read while a reply is being written;
 * bytes of the next request that came with the last one wait in their block.
 *
 * Everybody else has its ref only, and that is stale from conn_close() on: libuv,
 * in tcp.data, and the sweeper's letters. Its memory waits for libuv, which has
 * handles in it until on_closed(); what libuv calls in between (a cancelled
 * write) finds the connection gone.
 *
 * It is idle when it has waited for its client for the whole of --idle-timeout:
 * for a request to begin, for all of its headers once it has, for the next part
 * of its body, or for the next part of a reply to be taken. So the headers' time
 * is limited in all, but not the body's: a slow upload is no idle one.
 */
#ifndef CONN_H
#define CONN_H

#include "chain.h"
#include "reply.h"
#include "request.h"

#include <stdatomic.h>
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
	tide_ref ref;
	struct conn *prev; /* in worker->conns */
	struct conn *next;
	enum conn_state state;
	bool answered; /* once at least: from then on it may be closed between requests */
	uint64_t linger_until_ms;
	_Atomic uint64_t active_ms; /* when its client was last heard of; 0 = not set up yet */

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

/* Has its client been quiet for too long? Any thread that has it pinned. */
bool conn_is_idle(const struct conn *conn, uint64_t now_ms);

/* Closes it if it is idle. now_ms: all that had come by then has been handled. */
void conn_expire(struct conn *conn, uint64_t now_ms);

/*
 * The worker is stopping: closes it if no request has begun. Where another worker
 * takes its place a new connection may wait for its first one, since a client does
 * not expect to be turned away while the server goes on.
 */
void conn_stop(struct conn *conn);

/* Closes it if it has lingered long enough; true if it goes on lingering. */
bool conn_tick(struct conn *conn, uint64_t now_ms);

#endif
