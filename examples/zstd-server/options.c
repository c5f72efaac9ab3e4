/* SPDX-License-Identifier: MIT */
/* options.c - reads the command line; a bad argument is named, never guessed at. */
#include "options.h"

#include "chain.h"

#include <errno.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
	OPT_BIND = 1,
	OPT_PORT,
	OPT_THREADS,
	OPT_MAX_BODY,
	OPT_MAX_IO,
	OPT_IDLE_TIMEOUT,
	OPT_GRACE,
	OPT_ALLOCATOR
};

static const struct option known[] = {
	{ "bind", required_argument, NULL, OPT_BIND },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "max-body", required_argument, NULL, OPT_MAX_BODY },
	{ "max-io", required_argument, NULL, OPT_MAX_IO },
	{ "idle-timeout", required_argument, NULL, OPT_IDLE_TIMEOUT },
	{ "grace", required_argument, NULL, OPT_GRACE },
	{ "allocator", required_argument, NULL, OPT_ALLOCATOR },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static const char help[] =
	"Usage: zstd-server [OPTION]...\n"
	"Answers POST /compress?level=N with the body as one zstd frame.\n"
	"\n"
	"  --bind=ADDRESS    numeric address to listen on (127.0.0.1)\n"
	"  --port=N          port to listen on; 0 picks a free one (8080)\n"
	"  --threads=N       worker threads, 1 to 1024 (one for each cpu)\n"
	"  --max-body=SIZE   longest request body, 1 to 1GiB (1MiB)\n"
	"  --max-io=SIZE     most memory for I/O blocks, with --allocator=pool; a\n"
	"                    request that needs more gets 503 (no limit)\n"
	"  --idle-timeout=SECONDS\n"
	"                    closes a connection that has waited so long for its\n"
	"                    client: to begin a request, for the rest of its headers,\n"
	"                    for more of its body, or to take more of a reply. 0 to\n"
	"                    86400, with up to three decimals; 0 is never (60)\n"
	"  --grace=SECONDS   how long a shutdown waits for requests, 0 to 3600 (5)\n"
	"  --allocator=WHAT  pool: connections, I/O blocks and compression contexts\n"
	"                    come from tidepool; malloc: each is made and freed (pool)\n"
	"  -h, --help        this text\n"
	"\n"
	"SIZE is a number of bytes, or has one of the suffixes KiB, MiB, GiB.\n"
	"Also answers GET /metrics, /health/live and /health/ready. SIGTERM and\n"
	"SIGINT finish the requests in flight; a second one does not wait for them.\n"
	"SIGHUP replaces the workers, one after another, while the server goes on: each\n"
	"finishes its requests within --grace, and closes its connections. A SIGHUP\n"
	"meanwhile is remembered: what was new already is replaced again.\n";

static int
bad(const char *option, const char *value, const char *accepted)
{
	fprintf(stderr, "zstd-server: --%s=%s: expected %s\n", option, value, accepted);
	return 2;
}

/* Decimal digits, and then nothing but `rest`. */
static int
parse_number(const char *text, uint64_t low, uint64_t high, const char **rest, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, 10);
	*rest = end;
	return errno || *value < low || *value > high ? -EINVAL : 0;
}

static int
parse_unsigned(const char *text, unsigned low, unsigned high, unsigned *value)
{
	const char *rest;
	uint64_t number;

	if (parse_number(text, low, high, &rest, &number) || *rest)
		return -EINVAL;
	*value = (unsigned)number;
	return 0;
}

static int
parse_size(const char *text, uint64_t high, size_t *value)
{
	static const char *const units[] = { "", "KiB", "MiB", "GiB" };
	const char *rest;
	uint64_t number;

	if (parse_number(text, 1, high, &rest, &number))
		return -EINVAL;
	for (unsigned i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(rest, units[i]) != 0)
			continue;
		if (number > high >> (10 * i))
			return -EINVAL;
		*value = (size_t)(number << (10 * i));
		return 0;
	}
	return -EINVAL;
}

/* Decimal digits, and perhaps a point and one to three more. */
static int
parse_seconds(const char *text, unsigned high, uint64_t *value_ms)
{
	const char *rest;
	uint64_t number;

	if (parse_number(text, 0, high, &rest, &number))
		return -EINVAL;
	*value_ms = 1000 * number;
	if (*rest == '.') {
		rest++;
		if (!*rest)
			return -EINVAL;
		for (unsigned unit = 100; unit > 0 && *rest >= '0' && *rest <= '9'; unit /= 10)
			*value_ms += unit * (unsigned)(*rest++ - '0');
	}
	return *rest || *value_ms > 1000ull * high ? -EINVAL : 0;
}

static int
parse_address(const char *bind, unsigned port, struct sockaddr_storage *address)
{
	if (uv_ip4_addr(bind, (int)port, (struct sockaddr_in *)address) == 0)
		return 0;
	return uv_ip6_addr(bind, (int)port, (struct sockaddr_in6 *)address);
}

int
options_parse(struct options *opt, int argc, char **argv)
{
	const char *bind = "127.0.0.1";
	unsigned port = 8080;
	int option;

	*opt = (struct options){
		.threads = uv_available_parallelism(),
		.max_body = 1 << 20,
		.idle_ms = 60000,
		.grace_s = 5,
		.pooled = true,
	};
	while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (option) {
		case OPT_BIND:
			bind = optarg;
			break;
		case OPT_PORT:
			if (parse_unsigned(optarg, 0, 65535, &port))
				return bad("port", optarg, "a number from 0 to 65535");
			break;
		case OPT_THREADS:
			if (parse_unsigned(optarg, 1, 1024, &opt->threads))
				return bad("threads", optarg, "a number from 1 to 1024");
			break;
		case OPT_MAX_BODY:
			if (parse_size(optarg, 1 << 30, &opt->max_body))
				return bad("max-body", optarg, "a size from 1 to 1GiB");
			break;
		case OPT_MAX_IO:
			if (parse_size(optarg, SIZE_MAX >> 1, &opt->max_io) ||
			    opt->max_io < BLOCK_BYTES)
				return bad("max-io", optarg, "a size from 16KiB");
			break;
		case OPT_IDLE_TIMEOUT:
			if (parse_seconds(optarg, 86400, &opt->idle_ms))
				return bad("idle-timeout", optarg,
					   "seconds from 0 to 86400, such as 60 or 0.5");
			break;
		case OPT_GRACE:
			if (parse_unsigned(optarg, 0, 3600, &opt->grace_s))
				return bad("grace", optarg, "seconds from 0 to 3600");
			break;
		case OPT_ALLOCATOR:
			opt->pooled = strcmp(optarg, "pool") == 0;
			if (!opt->pooled && strcmp(optarg, "malloc") != 0)
				return bad("allocator", optarg, "pool or malloc");
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default: /* getopt_long has said what is wrong */
			fputs("zstd-server: --help lists what there is\n", stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "zstd-server: %s: not an option\n", argv[optind]);
		return 2;
	}
	if (parse_address(bind, port, &opt->address))
		return bad("bind", bind, "an address such as 127.0.0.1 or ::1");
	if (opt->max_io && !opt->pooled) {
		fputs("zstd-server: --max-io needs --allocator=pool\n", stderr);
		return 2;
	}
	return -1;
}
