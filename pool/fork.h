/* SPDX-License-Identifier: MIT */
/*
 * Fork, with other threads anywhere. A child has their objects, depots and caches,
 * but not them: whoever was half way through a change would have left it so. So a
 * fork waits until nobody is, as a collector does at a gate:
 *
 *     any thread                           who forks
 *     HIDE    depth = 1                    attention = UNDER_WAY
 *             compiler barrier             membarrier
 *     LOOK    attention?  (acquire)        wait until every other depth is 0 (acquire),
 *               set: is_parked, wait         or its thread parked
 *             the slow path, its locks     raise all gates, membarrier, wait until
 *     UNHIDE  depth = 0  (release)           nobody is inside; look at all hands
 *                                          fork; then all that is taken back
 *
 * A hand is filled as HIDE and LOOK have it: fork copies memory page by page while
 * other threads go on, so an object taken in hand meanwhile could be gone in the child
 * and the hand there still empty. A hand that is full may be emptied meanwhile: what
 * the words say in the child counts, and the look into all hands, before, says
 * whether to ask them.
 *
 * Slow paths and the fast path are short, and hooks run outside both; so the wait is
 * short. What hooks have in hand at that moment (an object being made, reset, or let
 * go by another thread) nobody will go on with in the child: there such objects count
 * as live for ever, as those do that the other threads had got.
 *
 *                  | lock                        | others meanwhile
 *     -------------+-----------------------------+---------------------------------
 *     fork         | fork_lock, then registry    | wait in hide, or are outside
 *                  |   and list of threads       |
 *     attend       | fork_lock                   | anything
 *
 * The child empties the caches of the threads that are gone when it first comes to a
 * slow path, so that one which only execs does not pay for it.
 */
#ifndef TIDEP_POOL_FORK_H
#define TIDEP_POOL_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TIDEP_ATTENTION_FORK    1u /* a fork is under way */
#define TIDEP_ATTENTION_ORPHANS 2u /* we are a child, with caches of nobody's */

extern _Atomic uint32_t tidep_pool_attention;

/* Called hidden, at depth 1, while attention is not 0; returns when it is. */
void tidep_pool_attend(void);

/*
 * Registers for fork(), if that was not done as the library was loaded. 0 or -ENOMEM.
 * So early because a fork has to wait for the first call too; and because what is
 * registered first prepares last: behind the program's own handlers, whose locks may
 * be held by threads that are calling us.
 */
int tidep_pool_fork_start(void);

/* start.c: has there been a first call, to its end? */
bool tidep_pool_is_started(void);

/* For who waits for other threads, again and again: yields, and soon sleeps. */
void tidep_pool_wait_a_turn(unsigned *turns);

struct tide_pool;

/*
 * In a child: an object that a hook of another thread had in hand becomes live, a
 * slot it was made in empty, and the counters say so. What the caller shows in its own
 * hand stays there, for it goes on. Nobody else is at work; the registry lock is held.
 */
void tidep_pool_rescue_locked(struct tide_pool *pool);

#endif
