/* SPDX-License-Identifier: MIT */
/*
 * server_abuse.c - clients as they should not be, for server_abuse.sh.
 *
 *     server_abuse PORT SEED CONNECTIONS
 *
 * Eight threads make so many connections each to 127.0.0.1:PORT and do something
 * else with each: go away in the middle of a request, of an answer, of nothing;
 * send garbage; take nothing in, or slowly; end their half; reset; stay until they
 * are closed. What they are answered is of no interest.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define THREADS           8
#define BODY_BYTES        200000
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct client {
	pthread_t thread;
	unsigned short port;
	unsigned connections;
	uint64_t random;
	int fd;
	size_t len;
	char bytes[BODY_BYTES + 300]; /* a request */
};

/* xorshift64* */
static unsigned
pick(struct client *client, unsigned n)
{
	client->random ^= client->random >> 12;
	client->random ^= client->random << 25;
	client->random ^= client->random >> 27;
	return (unsigned)(client->random * UINT64_C(2685821657736338717) >> 33) % n;
}

static void
pause_a_little(struct client *client)
{
	struct timespec pause = { .tv_nsec = 1000000 * (long)pick(client, 100) };

	nanosleep(&pause, NULL);
}

static void
put_all(struct client *client, const char *bytes, size_t n)
{
	while (n > 0) {
		ssize_t part = write(client->fd, bytes, n);

		if (part <= 0)
			return;
		bytes += part;
		n -= (size_t)part;
	}
}

static void
put_text(struct client *client, const char *text)
{
	put_all(client, text, strlen(text));
}

static void
get_some(struct client *client, size_t most)
{
	char bytes[4096];
	size_t got = 0;
	ssize_t n;

	while (got < most && (n = read(client->fd, bytes, sizeof(bytes))) > 0)
		got += (size_t)n;
}

/* A good request with a body of some length; returns where the body begins. */
static size_t
make_request(struct client *client)
{
	static const size_t sizes[] = { 0, 1, 100, 5000, 16384, BODY_BYTES };
	size_t body = sizes[pick(client, ARRAY_SIZE(sizes))];
	int head = snprintf(client->bytes, 300,
			    "POST /compress?level=%u HTTP/1.1\r\nHost: x\r\n"
			    "Content-Length: %zu\r\n\r\n",
			    1 + pick(client, 2), body);

	for (size_t i = 0; i < body; i++)
		client->bytes[(size_t)head + i] = (char)(i % 7 ? 'a' + i % 26 : pick(client, 256));
	client->len = (size_t)head + body;
	return (size_t)head;
}

static void
be_good(struct client *client)
{
	make_request(client);
	put_all(client, client->bytes, client->len);
	get_some(client, 1);
}

static void
send_a_part(struct client *client)
{
	make_request(client);
	put_all(client, client->bytes, pick(client, (unsigned)client->len + 1));
}

/* All that there is to say, and then only listens. */
static void
send_all_and_end(struct client *client)
{
	make_request(client);
	put_all(client, client->bytes, client->len);
	shutdown(client->fd, SHUT_WR);
	get_some(client, SIZE_MAX);
}

static void
send_a_part_and_end(struct client *client)
{
	send_a_part(client);
	shutdown(client->fd, SHUT_WR);
	get_some(client, SIZE_MAX);
}

static void
reset(struct client *client)
{
	struct linger linger = { .l_onoff = 1 };

	send_a_part(client);
	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
}

static void
send_in_pieces(struct client *client)
{
	make_request(client);
	for (size_t at = 0; at < client->len;) {
		size_t n = 1 + pick(client, (unsigned)client->len);

		n = n < client->len - at ? n : client->len - at;
		put_all(client, client->bytes + at, n);
		at += n;
		pause_a_little(client);
	}
	get_some(client, 1);
}

static void
send_garbage(struct client *client)
{
	size_t n = 1 + pick(client, 3000);

	for (size_t i = 0; i < n; i++)
		client->bytes[i] = (char)pick(client, 256);
	put_all(client, client->bytes, n);
	get_some(client, 1);
}

/* A request of which a few bytes are others. */
static void
send_a_broken_one(struct client *client)
{
	size_t head = make_request(client);

	for (unsigned i = 1 + pick(client, 3); i > 0; i--)
		client->bytes[pick(client, (unsigned)head)] = (char)pick(client, 256);
	put_all(client, client->bytes, client->len);
	shutdown(client->fd, SHUT_WR);
	get_some(client, SIZE_MAX);
}

static void
take_nothing(struct client *client)
{
	for (int i = 0; i < 1000; i++)
		put_text(client, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	pause_a_little(client);
}

/* Takes in a long answer a little at a time, and perhaps not to its end. */
static void
take_in_pieces(struct client *client)
{
	unsigned pieces = 1 + pick(client, 30);
	char bytes[2000];
	int small = 4096;

	setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	for (int i = 0; i < 20; i++)
		put_text(client, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	while (pieces-- > 0 && read(client->fd, bytes, 1 + pick(client, sizeof(bytes))) > 0)
		pause_a_little(client);
}

static void
send_too_much(struct client *client)
{
	make_request(client);
	put_text(client,
		 "POST /compress HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 10; i++) {
		put_text(client, "8000\r\n");
		put_all(client, client->bytes, 0x8000);
		put_text(client, "\r\n");
	}
	get_some(client, SIZE_MAX);
}

static void
expect_continue(struct client *client)
{
	put_text(client, "POST /compress HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
			 "Content-Length: 5\r\n\r\n");
	if (pick(client, 2))
		get_some(client, 1);
	put_text(client, "hello");
	if (pick(client, 2))
		get_some(client, 30);
}

static void
be_quiet(struct client *client)
{
	pause_a_little(client);
}

/* For the server to find out, while it waits for the rest; four seconds at most. */
static void
outstay(struct client *client)
{
	char byte;

	if (pick(client, 2))
		send_a_part(client);
	for (int i = 0; i < 13; i++) {
		if (read(client->fd, &byte, 1) == 0)
			return;
	}
}

static void (*const ways[])(struct client *) = {
	be_good,           send_a_part,      send_a_part_and_end, reset,           send_in_pieces,
	send_garbage,      take_nothing,     send_too_much,       expect_continue, be_quiet,
	send_a_broken_one, send_all_and_end, take_in_pieces,      outstay,
};

static void *
run(void *arg)
{
	struct client *client = arg;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(client->port) };
	struct timeval limit = { .tv_usec = 300000 };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (unsigned i = 0; i < client->connections; i++) {
		client->fd = socket(AF_INET, SOCK_STREAM, 0);
		if (client->fd < 0)
			continue;
		setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(client->fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			ways[pick(client, ARRAY_SIZE(ways))](client);
		close(client->fd);
	}
	return NULL;
}

int
main(int argc, char **argv)
{
	struct client *clients = calloc(THREADS, sizeof(*clients));
	unsigned started = 0;

	if (argc != 4 || !clients)
		return EXIT_FAILURE;
	signal(SIGPIPE, SIG_IGN);
	for (; started < THREADS; started++) {
		struct client *client = &clients[started];

		client->port = (unsigned short)atoi(argv[1]);
		client->random = strtoull(argv[2], NULL, 10) * THREADS + started + 1;
		client->connections = (unsigned)atoi(argv[3]);
		if (pthread_create(&client->thread, NULL, run, client))
			break;
	}
	for (unsigned i = 0; i < started; i++)
		pthread_join(clients[i].thread, NULL);
	free(clients);
	return started == THREADS ? EXIT_SUCCESS : EXIT_FAILURE;
}
