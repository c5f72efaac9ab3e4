/* SPDX-License-Identifier: MIT */
/*
 * request.h - one request as it is being read; http_parser does the parsing.
 *
 * Once the headers are there the request is judged: `status` is 0, or the error
 * it will be answered with. The body of a request that has an error is read and
 * thrown away, so that the connection can go on; where that may take long the
 * request is rejected: answered at once, and the connection closed.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include "chain.h"

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

enum route { ROUTE_NONE, ROUTE_COMPRESS, ROUTE_METRICS, ROUTE_LIVE, ROUTE_READY };

struct request {
	http_parser parser;
	struct alloc *alloc;
	size_t max_body;

	char target[256]; /* longer ones are 414 */
	char field[20];   /* of the header line being read; longer ones are of no interest */
	char value[20];
	size_t target_len;
	size_t field_len; /* these may be larger than the array: then it does not match */
	size_t value_len;
	bool in_value;
	bool has_expect;
	unsigned hosts;

	bool begun;       /* its first byte has been read */
	bool has_headers; /* all of them */
	bool complete;    /* the body, too */
	bool rejected;
	bool keep_alive;

	int status;
	char why[80]; /* with a status: one line for the client */
	enum route route;
	const char *allow; /* the methods of route */
	int level;
	size_t received; /* bytes of the body so far, kept or not */
	struct chain body;
};

void request_init(struct request *request, struct alloc *alloc, size_t max_body);

/* Done with this one: lets its body go and is ready for the connection's next. */
void request_next(struct request *request);

/*
 * Reads up to n bytes, stops after the end of the request, and returns how many
 * were used. Look at complete and rejected then.
 */
size_t request_parse(struct request *request, const char *bytes, size_t n);

/* The client waits for a 100 Continue before it sends the body. */
bool request_wants_continue(const struct request *request);

#endif
