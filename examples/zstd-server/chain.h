/* SPDX-License-Identifier: MIT */
/* chain.h - bytes in a list of fixed I/O blocks: a request's body, a response's. */
#ifndef CHAIN_H
#define CHAIN_H

#include "alloc.h"

#include <stddef.h>
#include <stdint.h>

#define BLOCK_BYTES 16384

struct block {
	struct block *next;
	uint32_t len;   /* bytes that count */
	uint32_t dirty; /* bytes that may have been written, len or more */
	char bytes[BLOCK_BYTES - 16];
};

struct chain {
	struct block *first;
	struct block *last;
	size_t bytes;
};

/* NULL: no memory. */
struct block *block_get(struct alloc *alloc);
void block_put(struct alloc *alloc, struct block *block);

/* Puts an empty block at the end, for the caller to fill. NULL: no memory. */
struct block *chain_grow(struct chain *chain, struct alloc *alloc);

/* Returns 0, or -ENOMEM with part of the bytes appended. */
int chain_append(struct chain *chain, struct alloc *alloc, const char *bytes, size_t n);

/* Puts back the first block; the chain is not empty. */
void chain_drop_first(struct chain *chain, struct alloc *alloc);

/* Puts back all of it. */
void chain_clear(struct chain *chain, struct alloc *alloc);

#endif
