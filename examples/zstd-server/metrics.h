/* SPDX-License-Identifier: MIT */
/* metrics.h - what /metrics shows: tidepool's statistics and the server's own. */
#ifndef METRICS_H
#define METRICS_H

#include "chain.h"

struct server;

/* Appends all of it in Prometheus' text format. Returns 0 or a negative errno. */
int metrics_write(struct server *server, struct chain *out);

#endif
