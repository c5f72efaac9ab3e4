/* SPDX-License-Identifier: MIT */
/* worker.c - accepts, keeps time, and stops. */
#include "worker.h"

#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 50
#define BACKLOG 1024

const int worker_statuses[WORKER_STATUS_COUNT] = WORKER_STATUSES;

/* The owner is the only writer: no read-modify-write is needed. */
static void
count(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, now + n, memory_order_relaxed);
}

static void accept_one(struct worker *worker);

static void
on_refused(uv_handle_t *handle)
{
	struct worker *worker = handle->data;

	worker->refusing = false;
	if (worker->accept_later && !worker->stopping) {
		worker->accept_later = false;
		accept_one(worker);
	}
}

/* libuv accepts no more until this one is taken; so take it, and close it. */
static void
refuse_one(struct worker *worker)
{
	if (worker->refusing) {
		worker->accept_later = true;
		return;
	}
	worker->refusing = true;
	count(&worker->counters.refused, 1);
	uv_tcp_init(&worker->loop, &worker->refusal);
	worker->refusal.data = worker;
	uv_accept((uv_stream_t *)&worker->listener, (uv_stream_t *)&worker->refusal);
	uv_close((uv_handle_t *)&worker->refusal, on_refused);
}

static void
accept_one(struct worker *worker)
{
	struct conn *conn = conn_open(worker);

	if (!conn) {
		refuse_one(worker);
		return;
	}
	count(&worker->counters.opened, 1);
	if (uv_accept((uv_stream_t *)&worker->listener, (uv_stream_t *)&conn->tcp))
		conn_close(conn);
	else
		conn_start(conn);
}

static void
on_connection(uv_stream_t *listener, int status)
{
	if (status == 0)
		accept_one(listener->data);
}

/* Closing a listener resets what waits in its backlog: take that in first. */
static void
accept_rest(struct worker *worker)
{
	uv_os_fd_t listener;

	if (uv_fileno((uv_handle_t *)&worker->listener, &listener))
		return;
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		struct conn *conn = fd < 0 ? NULL : conn_open(worker);

		if (!conn) {
			if (fd >= 0)
				close(fd);
			return;
		}
		count(&worker->counters.opened, 1);
		if (uv_tcp_open(&conn->tcp, fd)) {
			close(fd);
			conn_close(conn);
		} else {
			conn_start(conn);
		}
	}
}

static void
end_if_done(struct worker *worker)
{
	if (!worker->stopping || worker->conns)
		return;
	if (!uv_is_closing((uv_handle_t *)&worker->ticker)) {
		mail_close(&worker->mail);
		uv_close((uv_handle_t *)&worker->mail_check, NULL);
		uv_close((uv_handle_t *)&worker->ticker, NULL);
	}
}

static unsigned
stop_level(const struct worker *worker)
{
	return atomic_load_explicit(&worker->server->stopping, memory_order_relaxed);
}

bool
worker_is_replaced(const struct worker *worker)
{
	return worker->stopping && stop_level(worker) == 0;
}

static void
on_tick(uv_timer_t *ticker)
{
	struct worker *worker = ticker->data;
	uint64_t now_ms = uv_now(&worker->loop);
	bool needed = worker->stopping;

	if (stop_level(worker) > 1)
		worker->stop_by_ms = 0; /* a second signal */
	for (struct conn *conn = worker->conns; conn; conn = conn->next) {
		needed |= conn_tick(conn, now_ms);
		if (worker->stopping && now_ms >= worker->stop_by_ms)
			conn_close(conn);
	}
	if (!needed)
		uv_timer_stop(ticker);
}

void
worker_start_ticks(struct worker *worker)
{
	if (!uv_is_active((uv_handle_t *)&worker->ticker))
		uv_timer_start(&worker->ticker, on_tick, TICK_MS, TICK_MS);
}

/* Once as it is replaced, perhaps, and once as the server stops. */
static void
stop(struct worker *worker)
{
	worker->stopping = true;
	worker->stop_by_ms = uv_now(&worker->loop) + 1000ull * worker->server->opt.grace_s;
	if (!uv_is_closing((uv_handle_t *)&worker->listener)) {
		/* Who replaces it has the same socket, and will take them. */
		if (!worker_is_replaced(worker))
			accept_rest(worker);
		uv_close((uv_handle_t *)&worker->listener, NULL);
	}
	for (struct conn *conn = worker->conns; conn; conn = conn->next)
		conn_stop(conn);
	worker_start_ticks(worker);
	end_if_done(worker);
}

/* The sweeper's letters. Those about connections that are gone are stale. */
static void
expire(struct worker *worker, const tide_ref *refs, unsigned n)
{
	struct alloc *alloc = &worker->server->alloc;
	uint64_t now_ms = uv_now(&worker->loop);

	for (unsigned i = 0; i < n; i++) {
		struct conn *conn = alloc_pin(alloc, ALLOC_CONN, refs[i]);

		if (!conn) {
			worker_count_stale(worker);
			continue;
		}
		conn_expire(conn, now_ms);
		alloc_unpin(alloc, ALLOC_CONN, conn);
	}
	if (alloc->pooled)
		return;
	for (struct conn *conn = worker->conns; conn; conn = conn->next)
		conn_expire(conn, now_ms);
}

static void
on_mail(uv_check_t *check)
{
	struct worker *worker = check->data;
	tide_ref refs[MAIL_REFS];
	bool must_stop;
	unsigned n = mail_take(&worker->mail, refs, &must_stop);

	uv_check_stop(check);
	expire(worker, refs, n);
	if (must_stop)
		stop(worker);
}

/*
 * Mail is read once everything else that libuv found together with it has been
 * handled, and uv_now() is when it looked. So a client that sent something while
 * the loop was busy, compressing perhaps, is not taken for a quiet one.
 */
static void
on_wake(uv_async_t *wake)
{
	struct worker *worker = wake->data;

	uv_check_start(&worker->mail_check, on_mail);
}

void
worker_count_idle(struct worker *worker)
{
	count(&worker->counters.idle, 1);
}

void
worker_count_stale(struct worker *worker)
{
	count(&worker->counters.stale, 1);
}

void
worker_conn_gone(struct worker *worker)
{
	count(&worker->counters.closed, 1);
	end_if_done(worker);
}

const char *
worker_date(struct worker *worker)
{
	time_t now = time(NULL);
	struct tm tm;

	if (now != worker->date_time) {
		worker->date_time = now;
		gmtime_r(&now, &tm);
		strftime(worker->date, sizeof(worker->date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	}
	return worker->date;
}

void
worker_count_reply(struct worker *worker, const struct request *request, const struct reply *reply)
{
	struct counters *counters = &worker->counters;
	unsigned i = 0;

	while (i < WORKER_STATUS_COUNT - 1 && worker_statuses[i] != reply->status)
		i++;
	count(&counters->replies[i], 1);
	if (request->route == ROUTE_COMPRESS && reply->status == 200) {
		count(&counters->body_bytes, request->body.bytes);
		count(&counters->frame_bytes, reply->body.bytes);
	}
}

static void
close_handle(uv_handle_t *handle, void *arg)
{
	(void)arg;
	if (!uv_is_closing(handle))
		uv_close(handle, NULL);
}

static void
unmake(struct worker *worker)
{
	uv_walk(&worker->loop, close_handle, NULL);
	uv_run(&worker->loop, UV_RUN_DEFAULT);
	uv_loop_close(&worker->loop);
}

int
worker_create(struct worker *worker, struct server *server, int fd)
{
	int error;

	worker->server = server;
	worker->fd = fd;
	worker->refusing = false;
	worker->accept_later = false;
	worker->stopping = false;
	worker->conns = NULL;
	error = uv_loop_init(&worker->loop);
	if (error) {
		close(fd);
		return error;
	}
	worker->loop.data = worker;
	worker->mail_check.data = worker;
	worker->ticker.data = worker;
	worker->listener.data = worker;
	uv_timer_init(&worker->loop, &worker->ticker);
	uv_check_init(&worker->loop, &worker->mail_check);
	uv_tcp_init(&worker->loop, &worker->listener);
	error = uv_tcp_open(&worker->listener, fd);
	if (error)
		close(fd);
	if (!error)
		error = uv_listen((uv_stream_t *)&worker->listener, BACKLOG, on_connection);
	if (!error)
		error = mail_open(&worker->mail, &worker->loop, on_wake, worker);
	if (error)
		unmake(worker);
	return error;
}

void
worker_destroy(struct worker *worker)
{
	unmake(worker);
	mail_fini(&worker->mail);
}

void
worker_run(void *arg)
{
	struct worker *worker = arg;

	uv_run(&worker->loop, UV_RUN_DEFAULT);
	uv_loop_close(&worker->loop);
	uv_async_send(&worker->finished);
}

void
worker_join(struct worker *worker)
{
	uv_thread_join(&worker->thread);
	mail_fini(&worker->mail);
}
