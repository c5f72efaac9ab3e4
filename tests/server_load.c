/* SPDX-License-Identifier: MIT */
/*
 * server_load.c - clients that check every answer, for the server's tests.
 *
 *     server_load [--keep] PORT SEED THREADS SECONDS
 *
 * So many threads send bodies of all sizes to 127.0.0.1:PORT/compress and see that
 * each comes back as a frame that holds it: one connection a request, or with
 * --keep one for as long as the server keeps it. What the server may do is to close
 * a kept connection between two requests; that is counted, and the request is sent
 * once more on a new one. Everything else is a failure.
 *
 * Ends after so many seconds or at a SIGTERM, when the requests in flight are
 * answered, and prints
 *     requests N bytes N closed N failed N          (bytes: of the bodies)
 * Exits with 0 if none failed.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#define MOST_BODY    60000
#define MOST_THREADS 64
#define TIMEOUT_S    20
#define SHOWN        5    /* failures that a thread describes */
#define PAUSE_US     2000 /* after a connection: there are only so many ports */

struct client {
	pthread_t thread;
	uint64_t random;
	int fd;        /* -1: none */
	bool reused;   /* it has had an answer */
	bool may_keep; /* so the last answer says */
	size_t body;
	size_t len; /* of the request, of which the last `body` bytes are the body */
	size_t got;
	uint64_t requests, bytes, closed, failed;
	char request[MOST_BODY + 200];
	char answer[MOST_BODY + 2000];
	char plain[MOST_BODY];
};

static bool keep;
static unsigned short port;
static time_t until;
static atomic_bool must_stop;

static void
on_term(int number)
{
	(void)number;
	atomic_store_explicit(&must_stop, true, memory_order_relaxed);
}

/* xorshift64* */
static unsigned
pick(struct client *client, unsigned n)
{
	client->random ^= client->random >> 12;
	client->random ^= client->random << 25;
	client->random ^= client->random >> 27;
	return (unsigned)(client->random * UINT64_C(2685821657736338717) >> 33) % n;
}

static bool
fail(struct client *client, const char *why)
{
	if (client->failed++ < SHOWN)
		fprintf(stderr, "server_load: request %" PRIu64 ", %zu bytes, %s connection: %s\n",
			client->requests, client->body, client->reused ? "a kept" : "a new", why);
	return false;
}

static void
make_request(struct client *client)
{
	/* One in two asks for what it does anyway: both ends come to close first. */
	const char *close_it = !keep && pick(client, 2) ? "Connection: close\r\n" : "";
	char *body;

	client->body = pick(client, 4) ? pick(client, 3000) : pick(client, MOST_BODY);
	client->len = (size_t)snprintf(client->request, 200,
				       "POST /compress?level=%u HTTP/1.1\r\nHost: x\r\n"
				       "Content-Length: %zu\r\n%s\r\n",
				       1 + pick(client, 2), client->body, close_it);
	body = client->request + client->len;
	for (size_t i = 0; i < client->body; i++)
		body[i] = (char)(i % 5 ? 'a' + i % 23 : pick(client, 256));
	client->len += client->body;
}

static void
hang_up(struct client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	client->reused = false;
}

static bool
dial(struct client *client)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct timeval limit = { .tv_sec = TIMEOUT_S };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return fail(client, strerror(errno));
	setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)))
		return fail(client, strerror(errno));
	return true;
}

/* The whole answer: its head says how long it is. False: errno, or 0 for an end. */
static bool
read_answer(struct client *client, char **frame, size_t *frame_len)
{
	size_t whole = SIZE_MAX;

	client->got = 0;
	while (client->got < whole) {
		ssize_t n = read(client->fd, client->answer + client->got,
				 sizeof(client->answer) - 1 - client->got);
		char *end;

		if (n <= 0) {
			errno = n < 0 ? errno : 0;
			return false;
		}
		client->got += (size_t)n;
		client->answer[client->got] = '\0';
		end = whole == SIZE_MAX ? strstr(client->answer, "\r\n\r\n") : NULL;
		if (end) {
			char *length = strstr(client->answer, "Content-Length: ");

			if (!length || length > end)
				return false;
			*frame = end + 4;
			*frame_len = strtoull(length + 16, NULL, 10);
			whole = (size_t)(*frame - client->answer) + *frame_len;
			*end = '\0';
			client->may_keep = !strstr(client->answer, "Connection: close");
		}
	}
	return client->got == whole;
}

static bool
is_right(struct client *client, const char *frame, size_t frame_len)
{
	size_t n;

	if (strncmp(client->answer, "HTTP/1.1 200 ", 13) != 0) {
		client->answer[12] = '\0';
		return fail(client, client->answer);
	}
	n = ZSTD_decompress(client->plain, sizeof(client->plain), frame, frame_len);
	if (n != client->body ||
	    memcmp(client->plain, client->request + client->len - client->body, n) != 0)
		return fail(client, "the frame holds something else");
	return true;
}

static bool
send_request(struct client *client)
{
	for (size_t at = 0; at < client->len;) {
		ssize_t n = send(client->fd, client->request + at, client->len - at, MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* True: again, on a new connection. */
static bool
ask_once(struct client *client)
{
	char *frame = NULL;
	size_t frame_len = 0;
	bool sent;

	if (client->fd < 0 && !dial(client))
		return false;
	client->got = 0;
	sent = send_request(client);
	if (!sent || !read_answer(client, &frame, &frame_len)) {
		bool at_end = errno == 0 || errno == ECONNRESET || errno == EPIPE;

		if (client->reused && client->got == 0 && at_end) {
			client->closed++;
			return true;
		}
		fail(client, errno ? strerror(errno) : "closed before the whole answer");
		client->may_keep = false;
		return false;
	}
	if (is_right(client, frame, frame_len)) {
		client->requests++;
		client->bytes += client->body;
	}
	return false;
}

static void
ask(struct client *client)
{
	struct timespec pause = { .tv_nsec = 1000 * PAUSE_US };

	make_request(client);
	while (ask_once(client))
		hang_up(client);
	if (keep && client->fd >= 0 && client->may_keep) {
		client->reused = true;
		return;
	}
	hang_up(client);
	nanosleep(&pause, NULL);
}

static void *
run(void *arg)
{
	struct client *client = arg;

	while (!atomic_load_explicit(&must_stop, memory_order_relaxed) && time(NULL) < until)
		ask(client);
	hang_up(client);
	return NULL;
}

int
main(int argc, char **argv)
{
	struct client *clients;
	struct client sum = { .fd = -1 };
	unsigned threads;
	unsigned started = 0;

	keep = argc > 1 && strcmp(argv[1], "--keep") == 0;
	if (argc != 5 + keep)
		return 2;
	argv += keep;
	port = (unsigned short)atoi(argv[1]);
	threads = (unsigned)atoi(argv[3]);
	until = time(NULL) + atoi(argv[4]);
	if (threads < 1 || threads > MOST_THREADS)
		return 2;
	clients = calloc(threads, sizeof(*clients));
	if (!clients)
		return 1;
	signal(SIGTERM, on_term);
	for (; started < threads; started++) {
		struct client *client = &clients[started];

		client->fd = -1;
		client->random = strtoull(argv[2], NULL, 10) * MOST_THREADS + started + 1;
		if (pthread_create(&client->thread, NULL, run, client))
			break;
	}
	for (unsigned i = 0; i < started; i++) {
		pthread_join(clients[i].thread, NULL);
		sum.requests += clients[i].requests;
		sum.bytes += clients[i].bytes;
		sum.closed += clients[i].closed;
		sum.failed += clients[i].failed;
	}
	printf("requests %" PRIu64 " bytes %" PRIu64 " closed %" PRIu64 " failed %" PRIu64 "\n",
	       sum.requests, sum.bytes, sum.closed, sum.failed);
	free(clients);
	return started < threads || sum.failed > 0;
}
