/* SPDX-License-Identifier: MIT */
/*
 * main.c - zstd-server: starts the workers, waits for signals, stops them.
 *
 * Exit status: 0 after a shutdown, 1 if it could not start or an object was
 * lost, 2 for a bad argument or a malformed setting.
 */
#include "crew.h"
#include "listener.h"
#include "options.h"
#include "server.h"
#include "sweep.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
#define SIGNALS (sizeof(numbers) / sizeof(numbers[0]))
static uv_signal_t signals[SIGNALS];

static void
on_signal(uv_signal_t *handle, int number)
{
	struct server *server = handle->data;
	unsigned before = atomic_load_explicit(&server->stopping, memory_order_relaxed);

	if (number == SIGHUP) {
		crew_restart(server);
		return;
	}
	/* Workers look at a second signal by themselves: they may have ended. */
	atomic_store_explicit(&server->stopping, before ? 2 : 1, memory_order_relaxed);
	if (before)
		return;
	sweep_stop(server);
	crew_stop(server);
}

/* The last worker has ended; with these the main loop does. */
static void
on_gone(struct server *server)
{
	sweep_close(server);
	for (size_t i = 0; i < SIGNALS; i++)
		uv_close((uv_handle_t *)&signals[i], NULL);
}

static int
complain(const char *what, const char *why)
{
	fprintf(stderr, "zstd-server: %s: %s\n", what, why);
	return 1;
}

static int
start(struct server *server, uv_loop_t *loop)
{
	int error = 0;

	for (size_t i = 0; i < SIGNALS && !error; i++) {
		signals[i].data = server;
		error = uv_signal_init(loop, &signals[i]);
		if (!error)
			error = uv_signal_start(&signals[i], on_signal, numbers[i]);
	}
	if (!error)
		error = sweep_start(server, loop);
	return error ? error : crew_start(server, loop, on_gone);
}

static int
serve(struct server *server)
{
	uv_loop_t *loop = uv_default_loop();
	char text[64];
	int error = crew_create(server);

	listener_print(&server->opt.address, text, sizeof(text));
	if (error)
		return complain(text, uv_strerror(error));
	error = start(server, loop);
	if (error) {
		complain("cannot start", uv_strerror(error));
		exit(1); /* some run already: their memory is not ours to free */
	}
	printf("zstd-server: listening on http://%s\n", text);
	fflush(stdout);
	uv_run(loop, UV_RUN_DEFAULT);
	crew_destroy(server);
	return uv_loop_close(loop) ? complain("the main loop", "still busy") : 0;
}

int
main(int argc, char **argv)
{
	static struct server server;
	int status = options_parse(&server.opt, argc, argv);
	int error;

	if (status >= 0)
		return status;
	signal(SIGPIPE, SIG_IGN); /* a client that went away is an EPIPE */
	error = tide_init();
	if (error == -EINVAL)
		return 2; /* it has said which setting */
	if (!error)
		error = alloc_create(&server.alloc, server.opt.pooled, server.opt.max_io);
	if (error)
		return complain("cannot start", strerror(-error));
	status = serve(&server);
	if (alloc_destroy(&server.alloc))
		status = complain("at exit", "objects were never put back");
	return status;
}
