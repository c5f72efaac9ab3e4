/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - a timer and a walk.
 *
 * What it may read of a connection is what no worker changes while it is pinned:
 * active_ms, which is atomic, and, once that is not 0, what was written before.
 */
#include "sweep.h"

#include "conn.h"
#include "server.h"
#include "worker.h"

/* A quiet connection is closed at most this much after its time. */
#define SWEEPS_PER_TIMEOUT 4
#define MIN_MS             10
#define MAX_MS             1000

struct walk {
	uint64_t now_ms;
	bool had_no_room;
};

static int
look_at(void *obj, tide_ref ref, void *arg)
{
	struct conn *conn = obj;
	struct walk *walk = arg;

	if (conn_is_idle(conn, walk->now_ms) && !mail_post(&conn->worker->mail, ref))
		walk->had_no_room = true;
	return 0;
}

static uint64_t
pause_ms(const struct server *server)
{
	uint64_t ms = server->opt.idle_ms / SWEEPS_PER_TIMEOUT;

	if (ms < MIN_MS)
		return MIN_MS;
	return ms < MAX_MS ? ms : MAX_MS;
}

static void
on_sweep(uv_timer_t *timer)
{
	struct server *server = timer->data;
	struct walk walk = { .now_ms = uv_now(timer->loop) };

	if (!alloc_each(&server->alloc, ALLOC_CONN, look_at, &walk))
		crew_ring(server);
	/*
	 * Where a worker closed what was just being looked at, the last unpin was
	 * here, and so is the object now. No worker would find it in our cache.
	 */
	tide_thread_flush();
	uv_timer_start(timer, on_sweep, walk.had_no_room ? MIN_MS : pause_ms(server), 0);
}

int
sweep_start(struct server *server, uv_loop_t *loop)
{
	int error = uv_timer_init(loop, &server->sweeper);

	server->sweeper.data = server;
	if (!error && server->opt.idle_ms > 0)
		error = uv_timer_start(&server->sweeper, on_sweep, pause_ms(server), 0);
	return error;
}

void
sweep_stop(struct server *server)
{
	uv_timer_stop(&server->sweeper);
}

void
sweep_close(struct server *server)
{
	uv_close((uv_handle_t *)&server->sweeper, NULL);
}
