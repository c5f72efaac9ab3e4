/* SPDX-License-Identifier: MIT */
/* server.h - what all workers share. */
#ifndef SERVER_H
#define SERVER_H

#include "alloc.h"
#include "options.h"

#include <stdatomic.h>
#include <uv.h>

struct server {
	struct options opt;     /* read only once workers run */
	struct alloc alloc;     /* any thread */
	struct worker *workers; /* opt.threads of them, made before the first runs */
	uv_async_t finished;    /* wakes the main loop when a worker ends */
	uv_timer_t sweeper;     /* the main loop's */
	atomic_uint running;    /* workers that have not ended */
	atomic_uint stopping;   /* 0; 1 = finish requests; 2 = do not wait for them */
};

#endif
