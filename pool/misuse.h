/* SPDX-License-Identifier: MIT */
/*
 * Reports of misuse. Call with no lock held and outside every cache, since the
 * program's handler may call tidepool. Safe in a signal handler and in the
 * child of a fork: allocates nothing, waits for nobody. Keeps errno.
 */
#ifndef TIDEP_POOL_MISUSE_H
#define TIDEP_POOL_MISUSE_H

#include "pool/tide.h"

/*
 * Reports and aborts, or returns after the program's handler did; TIDE_LEAK
 * returns in every case. NULL for pool, obj or detail and 0 for ref or
 * generation leave it out; detail is what is known beyond kind, pool and object
 * ("it belongs to pool 'conns'"), and is cut if the line becomes too long.
 */
void tidep_pool_misuse(uint32_t kind, const char *pool, const void *obj, tide_ref ref,
		       uint64_t generation, const char *detail);

/* Reports since the start. */
uint64_t tidep_pool_misuses(void);

#endif
