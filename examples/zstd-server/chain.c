/* SPDX-License-Identifier: MIT */
/* chain.c - lists of I/O blocks. One owner, no locks. */
#include "chain.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct block) == BLOCK_BYTES, "a block fills its slot");

struct block *
block_get(struct alloc *alloc)
{
	return alloc_get(alloc, ALLOC_BLOCK);
}

void
block_put(struct alloc *alloc, struct block *block)
{
	alloc_put(alloc, ALLOC_BLOCK, block, offsetof(struct block, bytes) + block->dirty);
}

struct block *
chain_grow(struct chain *chain, struct alloc *alloc)
{
	struct block *block = block_get(alloc);

	if (!block)
		return NULL;
	if (chain->last)
		chain->last->next = block;
	else
		chain->first = block;
	chain->last = block;
	return block;
}

int
chain_append(struct chain *chain, struct alloc *alloc, const char *bytes, size_t n)
{
	while (n > 0) {
		struct block *block = chain->last;

		if (!block || block->len == sizeof(block->bytes))
			block = chain_grow(chain, alloc);
		if (!block)
			return -ENOMEM;

		size_t room = sizeof(block->bytes) - block->len;
		size_t part = n < room ? n : room;

		memcpy(block->bytes + block->len, bytes, part);
		block->len += (uint32_t)part;
		block->dirty = block->len;
		chain->bytes += part;
		bytes += part;
		n -= part;
	}
	return 0;
}

void
chain_drop_first(struct chain *chain, struct alloc *alloc)
{
	struct block *block = chain->first;

	chain->first = block->next;
	if (!chain->first)
		chain->last = NULL;
	chain->bytes -= block->len;
	block_put(alloc, block);
}

void
chain_clear(struct chain *chain, struct alloc *alloc)
{
	while (chain->first)
		chain_drop_first(chain, alloc);
}
