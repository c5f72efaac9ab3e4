/* SPDX-License-Identifier: MIT */
/*
 * mail.c - a mutex around an array; libuv's async handle is the bell.
 *
 * The bell is rung with the lock held: else a worker that was awake already could
 * take must_stop, and close the bell, between the poster's unlock and its ring.
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
	uv_async_send(&mail->bell);
	uv_mutex_unlock(&mail->lock);
	return fits;
}

void
mail_post_stop(struct mail *mail)
{
	uv_mutex_lock(&mail->lock);
	mail->must_stop = true;
	uv_async_send(&mail->bell);
	uv_mutex_unlock(&mail->lock);
}

void
mail_ring(struct mail *mail)
{
	uv_mutex_lock(&mail->lock);
	uv_async_send(&mail->bell);
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
	uv_mutex_unlock(&mail->lock);
	return n;
}

void
mail_close(struct mail *mail)
{
	uv_close((uv_handle_t *)&mail->bell, NULL);
}

void
mail_fini(struct mail *mail)
{
	uv_mutex_destroy(&mail->lock);
}
