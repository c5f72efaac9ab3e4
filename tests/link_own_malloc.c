/* SPDX-License-Identifier: MIT */
/*
 * A program with a malloc of its own, as servers have that bring one: it stays the
 * program's malloc, and no block of it is given back to another allocator, nor one
 * of mimalloc's to it. It hands on to glibc's, each block with a mark before it.
 */
#include "config.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/link.h"

#define MARK UINT64_C(0x7469646570d1a10c)

/* What glibc has under these names for exactly this. */
void *__libc_malloc(size_t bytes);
void *__libc_memalign(size_t align_bytes, size_t bytes);
void __libc_free(void *block);

/* Before a block, in the last 32 bytes of what aligns it. */
struct header {
	uint64_t mark;
	void *start;
	size_t bytes;
};

static unsigned allocations;

static struct header *
header_of(void *block)
{
	struct header *header = (struct header *)((char *)block - sizeof(*header));

	/* No message: that could need memory. */
	if (header->mark != MARK)
		abort();
	return header;
}

static void *
allocate(size_t align_bytes, size_t bytes)
{
	size_t before = align_bytes < 32 ? 32 : align_bytes;
	struct header *header;
	char *start;

	if (bytes > PTRDIFF_MAX - before) {
		errno = ENOMEM;
		return NULL;
	}
	start = __libc_memalign(before, before + bytes);
	if (start == NULL)
		return NULL;
	header = (struct header *)(void *)(start + before) - 1;
	*header = (struct header){ .mark = MARK, .start = start, .bytes = bytes };
	__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED);
	return start + before;
}

/* The program is built with hidden names; these are for all libraries, too. */
#pragma GCC visibility push(default)

void *
malloc(size_t bytes)
{
	return allocate(16, bytes);
}

void
free(void *block)
{
	int err = errno;

	if (block != NULL) {
		struct header *header = header_of(block);

		header->mark = 0;
		__libc_free(header->start);
	}
	errno = err;
}

void *
calloc(size_t n, size_t each_bytes)
{
	size_t bytes;
	void *block;

	if (__builtin_mul_overflow(n, each_bytes, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	block = allocate(16, bytes);
	return block != NULL ? memset(block, 0, bytes) : NULL;
}

void *
realloc(void *block, size_t bytes)
{
	void *moved = allocate(16, bytes);
	size_t kept;

	if (moved == NULL || block == NULL)
		return moved;
	kept = header_of(block)->bytes;
	memcpy(moved, block, kept < bytes ? kept : bytes);
	free(block);
	return moved;
}

int
posix_memalign(void **block, size_t align_bytes, size_t bytes)
{
	void *aligned = allocate(align_bytes, bytes);

	if (aligned == NULL)
		return ENOMEM;
	*block = aligned;
	return 0;
}

void *
aligned_alloc(size_t align_bytes, size_t bytes)
{
	return allocate(align_bytes, bytes);
}

size_t malloc_usable_size(void *block);

size_t
malloc_usable_size(void *block)
{
	return block != NULL ? header_of(block)->bytes : 0;
}

#pragma GCC visibility pop

int
main(int argc, char **argv)
{
	static const struct link_api api = LINK_API_DIRECT;

	(void)argc;
	stress_start(1, argv);
	if (!link_malloc_is("link_own_malloc"))
		return EXIT_FAILURE;
	link_stress_run(&api);
	STRESS_CHECK(allocations > 0, "nothing was allocated");
	return link_malloc_is("link_own_malloc") ? EXIT_SUCCESS : EXIT_FAILURE;
}
