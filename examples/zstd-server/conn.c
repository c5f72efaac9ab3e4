/* SPDX-License-Identifier: MIT */
/* conn.c - the I/O of a connection, on libuv. */
#include "conn.h"

#include "server.h"
#include "worker.h"

#include <assert.h>
#include <string.h>
#include <sys/ioctl.h>

/* How long a client has to take in a last reply and close. */
#define LINGER_MS 2000

/* libuv keeps up to four buffers of a write in the request; more it mallocs. */
#define WRITE_BUFS 4

static_assert(sizeof(tide_ref) == sizeof(void *), "a ref fits where libuv keeps a pointer");
static_assert(offsetof(struct conn, tcp) == 0, "see on_closed");

static void consume(struct conn *conn);

static struct alloc *
conn_alloc(const struct conn *conn)
{
	return &conn->worker->server->alloc;
}

/*
 * The connection that a callback is for, to be let go by leave(). NULL, and
 * counted: it was closed before libuv came to call.
 */
static struct conn *
enter(const uv_stream_t *stream)
{
	struct worker *worker = stream->loop->data;
	tide_ref ref = (uintptr_t)stream->data;
	struct conn *conn = alloc_pin(&worker->server->alloc, ALLOC_CONN, ref);

	if (!conn)
		worker_count_stale(worker);
	return conn;
}

static void
leave(struct conn *conn)
{
	alloc_unpin(conn_alloc(conn), ALLOC_CONN, conn);
}

/*
 * Not uv_now(): the loop may have spent seconds compressing since it looked at
 * the clock. Release, for conn_is_idle() and what it lets the sweeper read.
 */
static void
touch(struct conn *conn)
{
	atomic_store_explicit(&conn->active_ms, uv_hrtime() / 1000000, memory_order_release);
}

static void
release_input(struct conn *conn)
{
	if (conn->in)
		block_put(conn_alloc(conn), conn->in);
	conn->in = NULL;
	conn->at = 0;
	conn->len = 0;
}

/* The only place where a connection's blocks are let go for good. */
void
conn_fini(void *obj, void *ctx)
{
	struct conn *conn = obj;
	struct alloc *alloc = ctx;

	if (conn->in)
		block_put(alloc, conn->in);
	conn->in = NULL;
	chain_clear(&conn->request.body, alloc);
	chain_clear(&conn->reply.body, alloc);
}

/*
 * Whatever way a connection ended, it goes back without blocks and without a
 * byte of its client. All of it is cleared: libuv and the parser wrote to it.
 */
int
conn_reset(void *obj, size_t used, void *ctx)
{
	(void)used;
	conn_fini(obj, ctx);
	memset(obj, 0, sizeof(struct conn));
	return 0;
}

static void
on_closed(uv_handle_t *handle)
{
	/* Its ref is stale, but libuv's hold on it is not over before this. */
	struct conn *conn = (struct conn *)(void *)handle;
	struct worker *worker = conn->worker;

	if (conn->prev)
		conn->prev->next = conn->next;
	else
		worker->conns = conn->next;
	if (conn->next)
		conn->next->prev = conn->prev;
	alloc_let_go(conn_alloc(conn), ALLOC_CONN, conn);
	worker_conn_gone(worker);
}

void
conn_close(struct conn *conn)
{
	uv_handle_t *handle = (uv_handle_t *)&conn->tcp;

	if (uv_is_closing(handle))
		return;
	uv_close(handle, on_closed);
	alloc_end(conn_alloc(conn), ALLOC_CONN, conn->ref);
}

static void
on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
	struct conn *conn = enter((uv_stream_t *)handle);

	(void)hint;
	*buf = uv_buf_init(NULL, 0);
	if (!conn)
		return;
	release_input(conn);
	if (conn->state == CONN_READING)
		conn->in = block_get(conn_alloc(conn));
	conn->bytes = conn->in ? conn->in->bytes : conn->spare;
	*buf = uv_buf_init((char *)conn->bytes,
			   conn->in ? sizeof(conn->in->bytes) : sizeof(conn->spare));
	leave(conn);
}

static void
take_in(struct conn *conn, ssize_t n)
{
	struct request *request = &conn->request;
	bool had_begun = request->begun;

	if (n < 0) {
		release_input(conn);
		conn_close(conn);
		return;
	}
	if (conn->in)
		conn->in->dirty = (uint32_t)n;
	if (conn->state == CONN_LINGERING)
		return; /* thrown away: closing with unread bytes would reset the reply */
	conn->len = (size_t)n;
	consume(conn);
	/* Not for each part of the headers, nor for empty lines before them. */
	if (conn->state != CONN_READING || request->has_headers || request->begun != had_begun)
		touch(conn);
}

static void
on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *conn = enter(stream);

	(void)buf;
	if (!conn)
		return;
	take_in(conn, n);
	leave(conn);
}

static void
start_reading(struct conn *conn)
{
	int error = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);

	if (error && error != UV_EALREADY)
		conn_close(conn);
}

static void
on_shutdown(uv_shutdown_t *shutdown, int status)
{
	struct conn *conn = enter(shutdown->handle);

	if (!conn)
		return;
	if (status < 0)
		conn_close(conn);
	leave(conn);
}

static void
linger(struct conn *conn)
{
	struct worker *worker = conn->worker;

	release_input(conn);
	conn->state = CONN_LINGERING;
	conn->linger_until_ms = uv_now(&worker->loop) + LINGER_MS;
	worker_start_ticks(worker);
	if (uv_shutdown(&conn->shutdown, (uv_stream_t *)&conn->tcp, on_shutdown))
		conn_close(conn);
	else
		start_reading(conn);
}

static void
end_reply(struct conn *conn)
{
	bool keep_alive = conn->reply.keep_alive && !conn->worker->stopping;

	request_next(&conn->request);
	conn->answered = true;
	if (!keep_alive) {
		linger(conn);
		return;
	}
	conn->state = CONN_READING;
	consume(conn);
}

static void write_part(struct conn *conn);

static void
on_written(uv_write_t *write, int status)
{
	struct conn *conn = enter(write->handle);

	if (!conn)
		return; /* cancelled; the blocks went with the connection */
	for (; conn->sending > 0; conn->sending--)
		chain_drop_first(&conn->reply.body, conn_alloc(conn));
	if (status < 0)
		conn_close(conn);
	else if (conn->reply.body.first)
		write_part(conn);
	else
		end_reply(conn);
	touch(conn);
	leave(conn);
}

/* Writes the head, the text and as many blocks as fit into one write. */
static void
write_part(struct conn *conn)
{
	struct reply *reply = &conn->reply;
	uv_buf_t bufs[WRITE_BUFS];
	unsigned n = 0;

	if (reply->head_len)
		bufs[n++] = uv_buf_init(reply->head, (unsigned)reply->head_len);
	if (reply->text_len)
		bufs[n++] = uv_buf_init(reply->text, (unsigned)reply->text_len);
	reply->head_len = 0;
	reply->text_len = 0;
	for (struct block *block = reply->body.first; block && n < WRITE_BUFS;
	     block = block->next) {
		bufs[n++] = uv_buf_init(block->bytes, block->len);
		conn->sending++;
	}
	if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, bufs, n, on_written))
		conn_close(conn);
}

static void
send_continue(struct conn *conn)
{
	static char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	uv_buf_t buf = uv_buf_init(text, sizeof(text) - 1);

	/* Replies queue up behind it, so its request is free again before the next. */
	if (uv_write(&conn->interim, (uv_stream_t *)&conn->tcp, &buf, 1, NULL))
		conn_close(conn);
}

/* Parses what was read, up to the end of a request, and answers it. */
static void
consume(struct conn *conn)
{
	struct request *request = &conn->request;
	bool had_headers = request->has_headers;

	if (conn->at < conn->len)
		conn->at += request_parse(request, conn->bytes + conn->at, conn->len - conn->at);
	if (request->complete || request->rejected) {
		uv_read_stop((uv_stream_t *)&conn->tcp);
		if (conn->at == conn->len)
			release_input(conn);
		conn->state = CONN_WRITING;
		reply_make(&conn->reply, conn->worker, request);
		write_part(conn);
		return;
	}
	release_input(conn);
	if (!had_headers && request_wants_continue(request))
		send_continue(conn);
	if (conn->worker->stopping && !request->begun)
		conn_close(conn);
	else
		start_reading(conn);
}

struct conn *
conn_open(struct worker *worker)
{
	tide_ref ref;
	struct conn *conn = alloc_get_held(&worker->server->alloc, ALLOC_CONN, &ref);

	if (!conn)
		return NULL;
	uv_tcp_init(&worker->loop, &conn->tcp); /* cannot fail without a socket */
	conn->tcp.data = (void *)(uintptr_t)ref;
	conn->ref = ref;
	conn->worker = worker;
	request_init(&conn->request, &worker->server->alloc, worker->server->opt.max_body);
	conn->next = worker->conns;
	if (conn->next)
		conn->next->prev = conn;
	worker->conns = conn;
	touch(conn);
	return conn;
}

void
conn_start(struct conn *conn)
{
	uv_tcp_nodelay(&conn->tcp, 1);
	start_reading(conn);
}

void
conn_stop(struct conn *conn)
{
	uv_os_fd_t fd;
	int unread = 0;

	if (conn->state != CONN_READING || conn->request.begun)
		return;
	if (!conn->answered && worker_is_replaced(conn->worker))
		return;
	/* A request that is already here counts as begun. */
	if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0 && ioctl(fd, FIONREAD, &unread) == 0 &&
	    unread > 0)
		return;
	conn_close(conn);
}

bool
conn_tick(struct conn *conn, uint64_t now_ms)
{
	if (conn->state != CONN_LINGERING)
		return false;
	if (now_ms < conn->linger_until_ms)
		return true;
	conn_close(conn);
	return false;
}

bool
conn_is_idle(const struct conn *conn, uint64_t now_ms)
{
	uint64_t active_ms = atomic_load_explicit(&conn->active_ms, memory_order_acquire);

	if (active_ms == 0)
		return false;

	uint64_t idle_ms = conn->worker->server->opt.idle_ms;

	return idle_ms > 0 && now_ms >= active_ms + idle_ms;
}

void
conn_expire(struct conn *conn, uint64_t now_ms)
{
	/* Lingering has a limit of its own. */
	if (conn->state == CONN_LINGERING || uv_is_closing((uv_handle_t *)&conn->tcp) ||
	    !conn_is_idle(conn, now_ms))
		return;
	worker_count_idle(conn->worker);
	conn_close(conn);
}
