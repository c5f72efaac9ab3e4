/* SPDX-License-Identifier: MIT */
/*
 * What the statistics of all pools are, at one moment, for formatting.
 */
#ifndef TIDEP_POOL_SNAPSHOT_H
#define TIDEP_POOL_SNAPSHOT_H

#include "pool/tide.h"

#define TIDEP_NAME_BYTES 80 /* name, '#', a number */

struct tidep_snapshot {
	char name[TIDEP_NAME_BYTES]; /* as in reports: unique, "name#2" for a second one */
	uint64_t object_bytes;
	struct tide_pool_stats stats;
};

/*
 * Fills at most max entries, oldest pool first; returns how many pools there
 * are, which may be more. dst may be NULL if max is 0.
 */
size_t tidep_pool_snapshot(struct tidep_snapshot *dst, size_t max);

#endif
