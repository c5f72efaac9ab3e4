/* SPDX-License-Identifier: MIT */
/*
 * oom_out.h - what the library has out: records, reserved bytes, file descriptors.
 * They are counted where the linker puts these functions in the place of numa's
 * (--wrap). For one source of a program.
 */
#ifndef TESTS_OOM_OUT_H
#define TESTS_OOM_OUT_H

#include <dirent.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "numa/osmem.h"
#include "numa/record.h"

static _Atomic int64_t records;
static _Atomic int64_t reserved_bytes;

void *__real_tidep_numa_record_alloc(size_t bytes);
void __real_tidep_numa_record_free(void *record);
void *__real_tidep_numa_reserve(size_t bytes, size_t align_bytes);
void __real_tidep_numa_unreserve(void *addr, size_t bytes);
void *__wrap_tidep_numa_record_alloc(size_t bytes);
void __wrap_tidep_numa_record_free(void *record);
void *__wrap_tidep_numa_reserve(size_t bytes, size_t align_bytes);
void __wrap_tidep_numa_unreserve(void *addr, size_t bytes);

void *
__wrap_tidep_numa_record_alloc(size_t bytes)
{
	void *record = __real_tidep_numa_record_alloc(bytes);

	atomic_fetch_add(&records, record != NULL);
	return record;
}

void
__wrap_tidep_numa_record_free(void *record)
{
	atomic_fetch_sub(&records, record != NULL);
	__real_tidep_numa_record_free(record);
}

void *
__wrap_tidep_numa_reserve(size_t bytes, size_t align_bytes)
{
	void *addr = __real_tidep_numa_reserve(bytes, align_bytes);

	if (addr != NULL)
		atomic_fetch_add(&reserved_bytes, (int64_t)bytes);
	return addr;
}

void
__wrap_tidep_numa_unreserve(void *addr, size_t bytes)
{
	atomic_fetch_sub(&reserved_bytes, (int64_t)bytes);
	__real_tidep_numa_unreserve(addr, bytes);
}

static inline unsigned
count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

#endif
