/* SPDX-License-Identifier: MIT */
/* server.h - what all workers share. */
#ifndef SERVER_H
#define SERVER_H

#include "alloc.h"
#include "crew.h"
#include "options.h"

#include <stdatomic.h>
#include <uv.h>

struct server {
	struct options opt;   /* read only once workers run */
	struct alloc alloc;   /* any thread */
	struct crew crew;     /* the main loop's */
	uv_timer_t sweeper;   /* the main loop's */
	atomic_uint stopping; /* 0; 1 = finish requests; 2 = do not wait for them */
};

#endif
