/* SPDX-License-Identifier: MIT */
/*
 * Records from mimalloc or libc, behind the fault seam. Both sides use only
 * functions of one allocator, never free() on mimalloc's memory: the program's
 * malloc may be any other.
 */
#include "config.h"

#include "numa/record.h"

#include "numa/fault.h"

#include <stdint.h>
#ifdef TIDEP_MIMALLOC
#include <mimalloc.h>
#else
#include <stdlib.h>
#include <string.h>
#endif

#define RECORD_ALIGN_BYTES 64 /* a cache line, so that two records never share one */

#ifdef TIDEP_MIMALLOC
/*
 * Aligned by hand: the line before a record holds where its block starts. In
 * libmimalloc.so mi_free and mi_calloc are the very functions that are also
 * free and calloc, and valgrind replaces those wherever it finds them; nothing
 * does that to mi_zalloc_aligned, whose blocks valgrind then calls invalid to
 * free.
 */
static void *
alloc_zeroed(size_t bytes)
{
	char *block = mi_calloc(1, bytes + RECORD_ALIGN_BYTES);
	void **record;

	if (!block)
		return NULL;
	/* Blocks are aligned for any type, so there is room for the pointer. */
	record = (void **)(block + RECORD_ALIGN_BYTES - (uintptr_t)block % RECORD_ALIGN_BYTES);
	record[-1] = block;
	return record;
}

void
tidep_numa_record_free(void *record)
{
	if (record)
		mi_free(((void **)record)[-1]);
}
#else
static void *
alloc_zeroed(size_t bytes)
{
	void *record = aligned_alloc(RECORD_ALIGN_BYTES, bytes);

	return record ? memset(record, 0, bytes) : NULL;
}

void
tidep_numa_record_free(void *record)
{
	free(record);
}
#endif

void *
tidep_numa_record_alloc(size_t bytes)
{
	/*
	 * Absurd sizes end here: rounding up must not wrap, and neither
	 * allocator is to print or abort over them. Nothing is asked for as one
	 * line, so that NULL always means that there is no memory.
	 */
	if (bytes > PTRDIFF_MAX - 2 * RECORD_ALIGN_BYTES || tidep_numa_fault())
		return NULL;
	if (bytes == 0)
		bytes = 1;
	return alloc_zeroed((bytes + RECORD_ALIGN_BYTES - 1) & ~(size_t)(RECORD_ALIGN_BYTES - 1));
}
