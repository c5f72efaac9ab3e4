/* SPDX-License-Identifier: MIT */
/* crew.c - hires, replaces and dismisses workers. */
#include "crew.h"

#include "listener.h"
#include "server.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool
is_stopping(struct server *server)
{
	return atomic_load_explicit(&server->stopping, memory_order_relaxed) != 0;
}

static void
add_one(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* Its thread begins; the worker has been made. */
static int
launch(struct crew *crew, struct worker *worker)
{
	int error = uv_thread_create(&worker->thread, worker_run, worker);

	if (error)
		return error;
	worker->is_hired = true;
	worker->generation = crew->generation;
	add_one(&crew->hired);
	return 0;
}

static struct worker *
find_free(struct crew *crew)
{
	for (unsigned i = 0; i < crew->count; i++) {
		if (!crew->slots[i].is_hired)
			return &crew->slots[i];
	}
	return NULL;
}

static struct worker *
find_old(struct crew *crew)
{
	for (unsigned i = 0; i < crew->count; i++) {
		if (crew->slots[i].is_hired && crew->slots[i].generation != crew->generation)
			return &crew->slots[i];
	}
	return NULL;
}

/* A worker on the socket of the old one, so that nobody who waits there is lost. */
static int
hire_for(struct server *server, struct worker *worker, const struct worker *old)
{
	int fd = listener_share(old->fd);
	int error = fd < 0 ? fd : worker_create(worker, server, fd);

	if (error)
		return error;
	error = launch(&server->crew, worker);
	if (error)
		worker_destroy(worker);
	return error;
}

/* The workers that there are go on; the next restart is as if this had not been. */
static void
give_up_restart(struct crew *crew, int error)
{
	fprintf(stderr, "zstd-server: cannot replace a worker: %s\n", uv_strerror(error));
	crew->restarting = false;
	for (unsigned i = 0; i < crew->count; i++)
		crew->slots[i].generation = crew->generation;
}

/* The next step of a restart, unless somebody is still leaving. */
static void
replace_one(struct server *server)
{
	struct crew *crew = &server->crew;
	struct worker *free_slot = find_free(crew);
	struct worker *old = find_old(crew);
	int error;

	if (!crew->restarting || !free_slot)
		return;
	if (!old) {
		crew->restarting = false;
		add_one(&crew->restarts);
		return;
	}
	error = hire_for(server, free_slot, old);
	if (error)
		give_up_restart(crew, error);
	else
		mail_post_stop(&old->mail);
}

/* Each slot has a handle of its own: who ends cannot be taken for another one. */
static void
on_finished(uv_async_t *finished)
{
	struct worker *worker = finished->data;
	struct server *server = worker->server;
	struct crew *crew = &server->crew;

	worker_join(worker);
	worker->is_hired = false;
	add_one(&crew->left);
	if (!is_stopping(server)) {
		replace_one(server);
		return;
	}
	for (unsigned i = 0; i < crew->count; i++) {
		if (crew->slots[i].is_hired)
			return;
	}
	for (unsigned i = 0; i < crew->count; i++)
		uv_close((uv_handle_t *)&crew->slots[i].finished, NULL);
	crew->on_gone(server);
}

/* All workers are made before the first one runs, so that a failure is simple. */
int
crew_create(struct server *server)
{
	struct crew *crew = &server->crew;
	struct sockaddr_storage *address = &server->opt.address;
	char text[64];
	int error = 0;

	crew->count = server->opt.threads + 1;
	crew->slots = calloc(crew->count, sizeof(*crew->slots));
	if (!crew->slots)
		return UV_ENOMEM;
	listener_print(address, text, sizeof(text));
	if (strcmp(text + strlen(text) - 2, ":0") != 0)
		error = listener_probe(address);
	for (unsigned i = 0; i < server->opt.threads && !error; i++) {
		int fd = listener_bind(address);

		error = fd < 0 ? fd : worker_create(&crew->slots[i], server, fd);
	}
	return error;
}

int
crew_start(struct server *server, uv_loop_t *loop, void (*on_gone)(struct server *))
{
	struct crew *crew = &server->crew;
	int error = 0;

	crew->on_gone = on_gone;
	for (unsigned i = 0; i < crew->count && !error; i++) {
		error = uv_async_init(loop, &crew->slots[i].finished, on_finished);
		crew->slots[i].finished.data = &crew->slots[i];
	}
	for (unsigned i = 0; i < server->opt.threads && !error; i++)
		error = launch(crew, &crew->slots[i]);
	return error;
}

void
crew_restart(struct server *server)
{
	if (is_stopping(server))
		return;
	server->crew.generation++;
	server->crew.restarting = true;
	replace_one(server);
}

void
crew_stop(struct server *server)
{
	struct crew *crew = &server->crew;

	for (unsigned i = 0; i < crew->count; i++) {
		if (crew->slots[i].is_hired)
			mail_post_stop(&crew->slots[i].mail);
	}
}

void
crew_ring(struct server *server)
{
	struct crew *crew = &server->crew;

	for (unsigned i = 0; i < crew->count; i++) {
		if (crew->slots[i].is_hired)
			mail_ring(&crew->slots[i].mail);
	}
}

void
crew_destroy(struct server *server)
{
	free(server->crew.slots);
}
