/* SPDX-License-Identifier: MIT */
/*
 * mail.c - a mutex around an array; libuv's async handle is the bell.
 *
 * The bell is rung with the lock held, and only while the box is open: libuv must
 * not be asked to ring a bell whose loop has let go of it.
 */
#include "mail.h"

#include <string.h>

int
mail_open(struct mail *mail, uv_loop_t *loop, uv_async_cb on_ring, void *data)
{
	int error = uv_mutex_init(&mail->lock);

	if (error)
		return error;
	mail->n = 0;
	mail->must_stop = false;
	mail->is_open = true;
	mail->bell.data = data;
	error = uv_async_init(loop, &mail->bell, on_ring);
	if (error)
		uv_mutex_destroy(&mail->lock);
	return error;
}

static bool
has_ref_locked(const struct mail *mail, tide_ref ref)
{
	for (unsigned i = 0; i < mail->n; i++) {
		if (mail->refs[i] == ref)
			return true;
	}
	return false;
}

static void
ring_locked(struct mail *mail)
{
	if (mail->is_open)
		uv_async_send(&mail->bell);
}

bool
mail_post(struct mail *mail, tide_ref ref)
{
	bool fits = true;

	uv_mutex_lock(&mail->lock);
	/* A worker that is busy for several sweeps is told once. */
	if (!has_ref_locked(mail, ref)) {
		fits = mail->n < MAIL_REFS;
		if (fits)
			mail->refs[mail->n++] = ref;
	}
	ring_locked(mail);
	uv_mutex_unlock(&mail->lock);
	return fits;
}

void
mail_post_stop(struct mail *mail)
{
	uv_mutex_lock(&mail->lock);
	mail->must_stop = true;
	ring_locked(mail);
	uv_mutex_unlock(&mail->lock);
}

void
mail_ring(struct mail *mail)
{
	uv_mutex_lock(&mail->lock);
	ring_locked(mail);
	uv_mutex_unlock(&mail->lock);
}

unsigned
mail_take(struct mail *mail, tide_ref refs[MAIL_REFS], bool *must_stop)
{
	unsigned n;

	uv_mutex_lock(&mail->lock);
	n = mail->n;
	memcpy(refs, mail->refs, n * sizeof(refs[0]));
	mail->n = 0;
	*must_stop = mail->must_stop;
	mail->must_stop = false;
	uv_mutex_unlock(&mail->lock);
	return n;
}

void
mail_close(struct mail *mail)
{
	uv_mutex_lock(&mail->lock);
	mail->is_open = false;
	uv_mutex_unlock(&mail->lock);
	uv_close((uv_handle_t *)&mail->bell, NULL);
}

void
mail_fini(struct mail *mail)
{
	uv_mutex_destroy(&mail->lock);
}
