/* SPDX-License-Identifier: MIT */
/*
 * main.c - zstd-server: starts the workers, waits for a signal, stops them.
 *
 * Exit status: 0 after a shutdown, 1 if it could not start or an object was
 * lost, 2 for a bad argument or a malformed setting.
 */
#include "listener.h"
#include "options.h"
#include "server.h"
#include "sweep.h"
#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uv_signal_t signals[2];

static void
on_signal(uv_signal_t *handle, int number)
{
	struct server *server = handle->data;
	unsigned before = atomic_load_explicit(&server->stopping, memory_order_relaxed);

	(void)number;
	/* Workers look at a second signal by themselves: they may have ended. */
	atomic_store_explicit(&server->stopping, before ? 2 : 1, memory_order_relaxed);
	if (before)
		return;
	sweep_stop(server);
	for (unsigned i = 0; i < server->opt.threads; i++)
		mail_post_stop(&server->workers[i].mail);
}

/* A worker has ended; with the last one the main loop does. */
static void
on_finished(uv_async_t *finished)
{
	struct server *server = finished->data;

	if (atomic_load_explicit(&server->running, memory_order_relaxed))
		return;
	for (unsigned i = 0; i < server->opt.threads; i++)
		uv_thread_join(&server->workers[i].thread);
	uv_close((uv_handle_t *)finished, NULL);
	sweep_close(server);
	for (int i = 0; i < 2; i++)
		uv_close((uv_handle_t *)&signals[i], NULL);
}

static int
complain(const char *what, const char *why)
{
	fprintf(stderr, "zstd-server: %s: %s\n", what, why);
	return 1;
}

/* All workers are made before the first one runs, so that a failure is simple. */
static int
create_workers(struct server *server)
{
	struct sockaddr_storage *address = &server->opt.address;
	char text[64];
	int error = 0;

	listener_print(address, text, sizeof(text));
	if (strcmp(text + strlen(text) - 2, ":0") != 0)
		error = listener_probe(address);
	for (unsigned i = 0; i < server->opt.threads && !error; i++) {
		int fd = listener_bind(address);

		error = fd < 0 ? fd : worker_create(&server->workers[i], server, fd);
	}
	return error ? complain(text, uv_strerror(error)) : 0;
}

static int
start_workers(struct server *server, uv_loop_t *loop)
{
	static const int numbers[2] = { SIGTERM, SIGINT };
	int error = uv_async_init(loop, &server->finished, on_finished);

	server->finished.data = server;
	for (int i = 0; i < 2 && !error; i++) {
		signals[i].data = server;
		error = uv_signal_init(loop, &signals[i]);
		if (!error)
			error = uv_signal_start(&signals[i], on_signal, numbers[i]);
	}
	if (!error)
		error = sweep_start(server, loop);
	atomic_store_explicit(&server->running, server->opt.threads, memory_order_relaxed);
	for (unsigned i = 0; i < server->opt.threads && !error; i++)
		error = uv_thread_create(&server->workers[i].thread, worker_run,
					 &server->workers[i]);
	return error ? complain("cannot start", uv_strerror(error)) : 0;
}

static int
serve(struct server *server)
{
	uv_loop_t *loop = uv_default_loop();
	char text[64];

	server->workers = calloc(server->opt.threads, sizeof(*server->workers));
	if (!server->workers)
		return complain("cannot start", strerror(ENOMEM));
	if (create_workers(server))
		return 1;
	if (start_workers(server, loop))
		exit(1); /* some run already: their memory is not ours to free */
	listener_print(&server->opt.address, text, sizeof(text));
	printf("zstd-server: listening on http://%s\n", text);
	fflush(stdout);
	uv_run(loop, UV_RUN_DEFAULT);
	free(server->workers);
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
