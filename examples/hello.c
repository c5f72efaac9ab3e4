/* SPDX-License-Identifier: MIT */
/* hello.c - the README's example: a pool of requests, one of them used. */
#include <stdio.h>
#include <tide.h>

struct request {
	char path[240];
	int status;
};

int
main(void)
{
	if (tide_init())
		return 2; /* a setting is malformed; the line on stderr says which */
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "requests",
		.object_bytes = sizeof(struct request),
		.reset = tide_reset_zero,
	});
	struct request *request = pool ? tide_get(pool) : NULL;
	if (!request) {
		perror("hello");
		return 1;
	}
	request->status = snprintf(request->path, sizeof(request->path), "/hello");
	tide_put(pool, request); /* cleared, and nobody's from here on */

	int error = tide_stats_print(1, TIDE_TEXT);
	return tide_pool_destroy(pool) || error;
}
