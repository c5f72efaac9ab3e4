/* SPDX-License-Identifier: MIT */
/* options.h - what the command line says. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct options {
	struct sockaddr_storage address; /* where to listen; port 0 = any free one */
	unsigned threads;                /* workers, each with its own loop */
	size_t max_body;                 /* a longer request body is 413 */
	size_t max_io;                   /* cap of the I/O block pool; 0 = none */
	uint64_t idle_ms;                /* a client may be quiet for so long; 0 = for ever */
	unsigned grace_s;                /* how long a shutdown waits for requests in flight */
	bool pooled;                     /* --allocator=pool */
};

/*
 * Fills opt from the arguments. Returns -1 to go on, or the status to exit
 * with: 0 after --help, 2 after a message about a bad argument.
 */
int options_parse(struct options *opt, int argc, char **argv);

#endif
