/* SPDX-License-Identifier: MIT */
/*
 * Memory for the library's own records: small, few, not pooled. From mimalloc,
 * or from libc with --without-mimalloc. Any thread may free what another
 * allocated.
 */
#ifndef TIDEP_NUMA_RECORD_H
#define TIDEP_NUMA_RECORD_H

#include <stddef.h>

/* Zeroed, aligned to 64 bytes; NULL when there is no memory. */
void *tidep_numa_record_alloc(size_t bytes);
void tidep_numa_record_free(void *record); /* NULL is nothing to do */

#endif
