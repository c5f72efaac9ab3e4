/* SPDX-License-Identifier: MIT */
/* listener.h - sockets that share one address. */
#ifndef LISTENER_H
#define LISTENER_H

#include <sys/socket.h>

/*
 * Fails if anybody listens there already: SO_REUSEPORT alone would let a second
 * server of the same user take half of the first one's connections.
 * Returns 0 or a negative errno.
 */
int listener_probe(const struct sockaddr_storage *address);

/*
 * A socket bound to the address, with SO_REUSEPORT. A port of 0 in it is
 * replaced by the one that was picked. Returns the socket or a negative errno.
 */
int listener_bind(struct sockaddr_storage *address);

/*
 * The same socket once more. A second one of the same address would do as well but
 * for the moment when the first is closed: whoever is in its backlog then, or just
 * shaking hands, is reset.
 * Returns a file descriptor or a negative errno.
 */
int listener_share(int fd);

/* "127.0.0.1:8080" or "[::1]:8080". */
void listener_print(const struct sockaddr_storage *address, char *dst, size_t dst_bytes);

#endif
