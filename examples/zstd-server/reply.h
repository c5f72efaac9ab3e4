/* SPDX-License-Identifier: MIT */
/* reply.h - the answer to one request, made before its first byte is sent. */
#ifndef REPLY_H
#define REPLY_H

#include "chain.h"
#include "request.h"

#include <stdbool.h>
#include <stddef.h>

struct worker;

struct reply {
	int status;
	bool keep_alive;
	const char *type;
	char text[96]; /* a short body; it needs no block */
	size_t text_len;
	struct chain body; /* or a long one */
	char head[512];
	size_t head_len;
};

/*
 * Answers the request: does what it asks for, or says what is wrong with it.
 * Where there is no memory the answer is 503, which takes none. The reply's
 * last use is over: all of it has been sent.
 */
void reply_make(struct reply *reply, struct worker *worker, const struct request *request);

#endif
