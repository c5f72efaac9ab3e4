/* SPDX-License-Identifier: MIT */
/*
 * server_client.c - a client for the server's tests that does as it is told.
 *
 *     server_client [--half] PORT <request >answer
 *
 * Sends all of its input to 127.0.0.1:PORT, with --half ends its own half of the
 * connection, and copies what comes back until the server closes. Exits with 0
 * then, with 4 if the server reset the connection, 3 if it was silent for 20
 * seconds, 1 for anything else.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int
reason(void)
{
	if (errno == ECONNRESET || errno == EPIPE)
		return 4;
	return errno == EAGAIN ? 3 : 1;
}

/* 0 once all of `from` is in `to`; else what to exit with. */
static int
copy(int from, int to)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(from, bytes, sizeof(bytes))) > 0) {
		for (ssize_t at = 0; at < n;) {
			ssize_t part = write(to, bytes + at, (size_t)(n - at));

			if (part < 0)
				return reason();
			at += part;
		}
	}
	return n < 0 ? reason() : 0;
}

int
main(int argc, char **argv)
{
	int half = argc > 1 && strcmp(argv[1], "--half") == 0;
	struct timeval limit = { .tv_sec = 20 };
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int sent;
	int status;

	if (argc != 2 + half || fd < 0)
		return 1;
	address.sin_port = htons((unsigned short)atoi(argv[1 + half]));
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	signal(SIGPIPE, SIG_IGN);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 1;
	/* An answer that came before the end of the request is read nevertheless. */
	sent = copy(STDIN_FILENO, fd);
	if (!sent && half)
		shutdown(fd, SHUT_WR);
	status = copy(fd, STDOUT_FILENO);
	return status ? status : sent;
}
