/* SPDX-License-Identifier: MIT */
/*
 * mail.h - how other threads tell a worker something: a box of refs, and a bell.
 *
 * A letter is the ref of a connection that the sweeper found idle. The box is
 * bounded and keeps each ref once; what does not fit is not lost, since the
 * connection is still idle when the next sweep comes by.
 *
 *                           who              meanwhile
 *   mail_open, mail_fini    the main loop    nobody does anything: the worker's
 *                                            thread has not begun, or was joined
 *   mail_post*, mail_ring   any other thread anything but the above
 *   mail_take, mail_close   the worker       anything but the above
 */
#ifndef MAIL_H
#define MAIL_H

#include <stdbool.h>
#include <tide.h>
#include <uv.h>

#define MAIL_REFS 128

struct mail {
	uv_async_t bell; /* its data is the worker */
	uv_mutex_t lock; /* of all below, and held while the bell is rung */
	tide_ref refs[MAIL_REFS];
	unsigned n;
	bool must_stop;
	bool is_open; /* what comes after mail_close() is dropped */
};

/*
 * An empty box; on_ring runs on the loop's thread some time after mail came.
 * Returns 0 or a libuv error, after which there is nothing to close.
 */
int mail_open(struct mail *mail, uv_loop_t *loop, uv_async_cb on_ring, void *data);

/* False: the box is full. */
bool mail_post(struct mail *mail, tide_ref ref);

/* The worker shall stop; again, if the server has begun to stop meanwhile. */
void mail_post_stop(struct mail *mail);

/* No letter, only the bell. */
void mail_ring(struct mail *mail);

/* Empties the box into refs; returns how many there were. */
unsigned mail_take(struct mail *mail, tide_ref refs[MAIL_REFS], bool *must_stop);

/* The loop lets go of the bell. */
void mail_close(struct mail *mail);

/* The loop has ended. */
void mail_fini(struct mail *mail);

#endif
