/* SPDX-License-Identifier: MIT */
/*
 * sweep.h - finds idle connections, on the main loop, while the workers work.
 *
 * The sweeper owns no connection and closes none: it walks all of them, each
 * pinned while it looks, and mails the refs of the idle ones to their workers. By
 * the time a letter is read its connection may be gone, and its memory another
 * client's; then the ref is stale.
 */
#ifndef SWEEP_H
#define SWEEP_H

#include <uv.h>

struct server;

/* With --idle-timeout=0 it never sweeps. Returns 0 or a libuv error. */
int sweep_start(struct server *server, uv_loop_t *loop);

/* No more mail from it. */
void sweep_stop(struct server *server);
void sweep_close(struct server *server);

#endif
