/* SPDX-License-Identifier: MIT */
/* compress.h - a body becomes a zstd frame; the contexts that do it. */
#ifndef COMPRESS_H
#define COMPRESS_H

#include "chain.h"

#include <tide.h>
#include <zstd.h>

/* What the pool holds: zstd allocates its contexts itself. */
struct context {
	ZSTD_CCtx *zstd;
};

tide_init_fn context_init;
tide_reset_fn context_reset;
tide_fini_fn context_fini;

/*
 * Appends one zstd frame of `in` to `out`. Runs to its end: a large body at a
 * high level holds up the other connections of its worker.
 * Returns 0, -ENOMEM, or -EIO for what zstd should never answer; after an
 * error `out` may hold part of a frame.
 */
int compress_chain(struct alloc *alloc, const struct chain *in, int level, struct chain *out);

#endif
