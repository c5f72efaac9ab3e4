/* SPDX-License-Identifier: MIT */
/* compress.c - drives zstd over chains of blocks with a context from the pool. */
#include "compress.h"

#include <errno.h>
#include <stdbool.h>
#include <zstd_errors.h>

int
context_init(void *obj, void *ctx)
{
	struct context *context = obj;

	(void)ctx;
	context->zstd = ZSTD_createCCtx();
	return context->zstd ? 0 : -ENOMEM;
}

int
context_reset(void *obj, size_t used, void *ctx)
{
	struct context *context = obj;
	size_t result = ZSTD_CCtx_reset(context->zstd, ZSTD_reset_session_and_parameters);

	(void)used;
	(void)ctx;
	return ZSTD_isError(result) ? -EIO : 0;
}

void
context_fini(void *obj, void *ctx)
{
	struct context *context = obj;

	(void)ctx;
	ZSTD_freeCCtx(context->zstd);
}

static int
zstd_error(size_t result)
{
	return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? -ENOMEM : -EIO;
}

/* Gives all of `input` to zstd; with ZSTD_e_end until the frame is complete. */
static int
compress_part(ZSTD_CCtx *zstd, ZSTD_inBuffer *input, ZSTD_EndDirective directive,
	      struct alloc *alloc, struct chain *out)
{
	for (;;) {
		struct block *block = out->last;

		if (!block || block->len == sizeof(block->bytes))
			block = chain_grow(out, alloc);
		if (!block)
			return -ENOMEM;

		ZSTD_outBuffer output = {
			.dst = block->bytes,
			.size = sizeof(block->bytes),
			.pos = block->len,
		};
		/* zstd may scribble on what it was lent beyond what it says it
		 * wrote, so all of that counts as written for the reset. */
		block->dirty = sizeof(block->bytes);

		size_t left = ZSTD_compressStream2(zstd, &output, input, directive);

		out->bytes += output.pos - block->len;
		block->len = (uint32_t)output.pos;
		if (ZSTD_isError(left))
			return zstd_error(left);
		if (directive == ZSTD_e_end ? left == 0 : input->pos == input->size)
			return 0;
	}
}

static int
set_up(ZSTD_CCtx *zstd, int level, size_t bytes)
{
	size_t result = ZSTD_CCtx_setParameter(zstd, ZSTD_c_compressionLevel, level);

	if (!ZSTD_isError(result))
		result = ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	if (!ZSTD_isError(result))
		result = ZSTD_CCtx_setPledgedSrcSize(zstd, bytes);
	return ZSTD_isError(result) ? zstd_error(result) : 0;
}

int
compress_chain(struct alloc *alloc, const struct chain *in, int level, struct chain *out)
{
	struct context *context = alloc_get(alloc, ALLOC_CONTEXT);
	const struct block *block = in->first;

	if (!context)
		return -ENOMEM;

	int error = set_up(context->zstd, level, in->bytes);
	bool last = false;

	/* At least once, for the frame of an empty body. */
	while (!error && !last) {
		ZSTD_inBuffer input = { .src = block ? block->bytes : NULL,
					.size = block ? block->len : 0 };

		last = !block || !block->next;
		error = compress_part(context->zstd, &input, last ? ZSTD_e_end : ZSTD_e_continue,
				      alloc, out);
		if (!last)
			block = block->next;
	}
	alloc_put(alloc, ALLOC_CONTEXT, context, sizeof(*context));
	return error;
}
