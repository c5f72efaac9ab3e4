/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a thread with a loop, a listening socket and connections.
 *
 * Each worker listens on the same address with SO_REUSEPORT, so the kernel
 * deals connections out and workers share nothing but the allocator. All is
 * touched by the worker's own thread only, but for the mail (any thread), the
 * counters (written by the owner, read by any), and what is its crew's.
 */
#ifndef WORKER_H
#define WORKER_H

#include "conn.h"
#include "mail.h"
#include "reply.h"
#include "server.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

/* Every status the server answers with; the last one stands for a gap in this list. */
#define WORKER_STATUSES                                                                            \
	{                                                                                          \
		200, 400, 404, 405, 411, 413, 414, 417, 431, 500, 501, 503, 505, 0                 \
	}
#define WORKER_STATUS_COUNT 14

struct counters {
	_Atomic uint64_t opened; /* connections */
	_Atomic uint64_t closed;
	_Atomic uint64_t refused;    /* for lack of memory */
	_Atomic uint64_t idle;       /* closed because their client was quiet */
	_Atomic uint64_t stale;      /* callbacks and letters for connections that were closed */
	_Atomic uint64_t body_bytes; /* compressed, and what became of them */
	_Atomic uint64_t frame_bytes;
	_Atomic uint64_t replies[WORKER_STATUS_COUNT];
};

struct worker {
	struct server *server;
	uv_thread_t thread;
	int fd;              /* the listener's; the main loop's until the worker is to stop */
	bool is_hired;       /* the main loop's: its thread runs, or is to be joined */
	unsigned generation; /* the main loop's, too */
	uv_async_t finished; /* the main loop's, through all of the slot's workers; sent last */
	uv_loop_t loop;      /* its data is the worker */
	struct mail mail;
	uv_check_t mail_check; /* runs once after mail has come */
	uv_timer_t ticker;     /* runs while a connection lingers and while stopping */
	uv_tcp_t listener;
	uv_tcp_t refusal;  /* a connection there was no memory for, being closed */
	bool refusing;     /* refusal is in use */
	bool accept_later; /* another one waits for it */
	bool stopping;
	uint64_t stop_by_ms; /* when stopping no longer waits */
	struct conn *conns;
	time_t date_time;
	char date[40];
	struct counters counters; /* the slot's: see crew.h */
};

extern const int worker_statuses[WORKER_STATUS_COUNT];

/*
 * Makes a worker that listens on fd, a bound socket which is its from then on,
 * whatever the result; the storage is zero bytes, or where another one was. Returns
 * 0, or a libuv error after which nothing is left.
 */
int worker_create(struct worker *worker, struct server *server, int fd);

/* Unmakes one that never ran. */
void worker_destroy(struct worker *worker);

/*
 * The body of its thread: once it has stopped it tells the main loop, which is to
 * join it then.
 */
void worker_run(void *worker);
void worker_join(struct worker *worker);

/* For its connections: */

/* It is stopping because another one takes its place. */
bool worker_is_replaced(const struct worker *worker);
void worker_start_ticks(struct worker *worker);
void worker_conn_gone(struct worker *worker);
void worker_count_idle(struct worker *worker);
void worker_count_stale(struct worker *worker);
const char *worker_date(struct worker *worker);
void worker_count_reply(struct worker *worker, const struct request *request,
			const struct reply *reply);

#endif
