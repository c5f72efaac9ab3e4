/* SPDX-License-Identifier: MIT */
/* listener.c - binds the workers' sockets; libuv 1.44 has no SO_REUSEPORT. */
#define _GNU_SOURCE /* dup3 */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Binds a new socket; the socket or a negative errno. */
static int
bind_socket(struct sockaddr_storage *address, int reuse_port)
{
	socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						       : sizeof(struct sockaddr_in);
	int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuse_port, sizeof(reuse_port)) ||
	    bind(fd, (struct sockaddr *)address, len) ||
	    getsockname(fd, (struct sockaddr *)address, &len)) {
		int error = -errno;

		close(fd);
		return error;
	}
	return fd;
}

int
listener_probe(const struct sockaddr_storage *address)
{
	struct sockaddr_storage copy = *address;
	int fd = bind_socket(&copy, 0);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

int
listener_bind(struct sockaddr_storage *address)
{
	return bind_socket(address, 1);
}

/*
 * F_DUPFD_CLOEXEC would do, but ThreadSanitizer does not see it, nor libuv's close;
 * so it would take the number for that of a connection that another thread had.
 */
int
listener_share(int fd)
{
	int copy = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	if (dup3(fd, copy, O_CLOEXEC) < 0) {
		int error = -errno;

		close(copy);
		return error;
	}
	return copy;
}

void
listener_print(const struct sockaddr_storage *address, char *dst, size_t dst_bytes)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
	char text[INET6_ADDRSTRLEN] = "";

	if (address->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		snprintf(dst, dst_bytes, "[%s]:%u", text, ntohs(in6->sin6_port));
	} else {
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		snprintf(dst, dst_bytes, "%s:%u", text, ntohs(in->sin_port));
	}
}
