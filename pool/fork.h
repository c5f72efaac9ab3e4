/* SPDX-License-Identifier: MIT */
/*
 * Fork, with other threads anywhere. A child has their objects, depots and caches,
 * but not them: whoever was half way through a change would have left it so. So a
 * fork waits until nobody is, as a collector does at a gate:
 *
 *     any thread                           who forks
 *     HIDE    depth = 1                    attention = UNDER_WAY
 *             compiler barrier             membarrier
 *     LOOK    attention?  (acquire)        wait until every other depth is 0 (acquire)
 *               set: depth = 0, wait       raise all gates, membarrier, wait until
 *             the slow path, its locks       nobody is inside
 *     UNHIDE  depth = 0  (release)         fork; then all that is taken back
 *
 * Slow paths and the fast path are short, and hooks run outside both; so the wait is
 * short. What hooks have in hand at that moment (an object being made, reset, or let
 * go by another thread) nobody will go on with in the child: there such objects count
 * as live for ever, as those do that the other threads had got.
 *
 *                  | lock                        | others meanwhile
 *     -------------+-----------------------------+---------------------------------
 *     fork         | start, setter, fork_lock    | wait in hide, or are outside
 *     attend       | fork_lock                   | anything
 *
 * The child empties the caches of the threads that are gone when it first comes to a
 * slow path, so that one which only execs does not pay for it.
 */
#ifndef TIDEP_POOL_FORK_H
#define TIDEP_POOL_FORK_H

#include <stdatomic.h>
#include <stdint.h>

#define TIDEP_ATTENTION_FORK    1u /* a fork is under way */
#define TIDEP_ATTENTION_ORPHANS 2u /* we are a child, with caches of nobody's */

extern _Atomic uint32_t tidep_pool_attention;

/* Called hidden, at depth 1, while attention is not 0; returns when it is. */
void tidep_pool_attend(void);

/* Registers for fork(). 0 or -ENOMEM; once. */
int tidep_pool_fork_start(void);

/* start.c: the first call is not under way meanwhile. */
void tidep_pool_start_lock(void);
void tidep_pool_start_unlock(void);

struct tide_pool;

/*
 * In a child: an object that a hook of another thread had in hand becomes live, a
 * slot it was made in empty, and the counters say so. Nobody else is at work; the
 * registry lock is held.
 */
void tidep_pool_rescue_locked(struct tide_pool *pool);

#endif
