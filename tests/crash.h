/* SPDX-License-Identifier: MIT */
/*
 * crash.h - for the programs crash_*.c: each misuses tidepool in one way, and must
 * die of it by SIGABRT, with the one line on stderr that crash.sh knows.
 */
#ifndef TESTS_CRASH_H
#define TESTS_CRASH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tide.h>

static inline tide_pool *
crash_pool(const char *name, size_t bytes)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = name,
		.object_bytes = bytes,
		.reset = tide_reset_zero,
	});

	/* Dying is what is wanted: no core files. */
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });
	if (pool == NULL)
		exit(3);
	return pool;
}

static inline void *
crash_get(tide_pool *pool)
{
	void *obj = tide_get(pool);

	if (obj == NULL)
		exit(3);
	return obj;
}

#endif
