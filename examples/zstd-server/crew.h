/* SPDX-License-Identifier: MIT */
/*
 * crew.h - the workers: hired at the start, replaced one after another by a
 * restart, and dismissed at the end.
 *
 * There is one slot more than workers. A restart makes a worker in the free slot,
 * on the listening socket of the one it replaces; once it runs, the other one is
 * told to leave, and its slot is the free one when it has. So the server never has
 * fewer workers than it should, nor more than one too many.
 *
 * All of it is the main loop's, but for the counters of the slots: they outlive
 * their worker, and the slot's next one goes on counting from there.
 */
#ifndef CREW_H
#define CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct server;
struct worker;

struct crew {
	struct worker *slots;
	unsigned count;                   /* slots: --threads, and one */
	void (*on_gone)(struct server *); /* called after the last one has, at the end */
	unsigned generation;              /* a worker of an earlier one is to be replaced */
	bool restarting;
	_Atomic uint64_t hired; /* workers that were started, ever; any thread reads these */
	_Atomic uint64_t left;
	_Atomic uint64_t restarts; /* that came to their end */
};

/*
 * Binds the sockets and makes the workers. Returns 0, or a libuv error: the
 * process should end then.
 */
int crew_create(struct server *server);

/*
 * Starts them. on_gone is called on the loop after crew_stop(), when nothing of
 * the crew is left on it. Returns 0, or a libuv error: some may be running, so
 * their memory must stay.
 */
int crew_start(struct server *server, uv_loop_t *loop, void (*on_gone)(struct server *));

/*
 * Replaces all workers, one after another. Another restart meanwhile is not lost:
 * it replaces those again that this one had made by then.
 */
void crew_restart(struct server *server);

/* Tells all of them to stop; server->stopping says how. */
void crew_stop(struct server *server);

/* For the sweeper: rings at every worker's. */
void crew_ring(struct server *server);

/* Only after on_gone. */
void crew_destroy(struct server *server);

#endif
