/* SPDX-License-Identifier: MIT */
/*
 * A depot: the idle objects of one pool on one node that no thread caches, by
 * the magazine. Full magazines (any that hold something) and empty ones are on
 * two lock-free stacks (Treiber 1986); a tag beside the top's number changes
 * with every pop, so that a top which left and came back is not mistaken (ABA),
 * and magazines' memory stays readable for ever, so that reading the link of
 * one that has just been popped is harmless.
 *
 * `loose` is a magazine that takes objects one by one: of threads without a
 * cache, of pools too large for caches, and of partly filled magazines that
 * caches hand in.
 *
 *     call             | lock            | others meanwhile
 *     -----------------+-----------------+----------------------------------
 *     pop_*, push_*    | none            | anything
 *     put_one, get_one,| the bin's,      | anything
 *     put_partial      | inside          |
 *     each             | the bin's,      | X  no pop, no push: at rest only
 *                      | inside          |
 */
#ifndef TIDEP_POOL_DEPOT_H
#define TIDEP_POOL_DEPOT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena/bin.h"
#include "pool/magazine.h"

struct tide_pool;

struct tidep_depot {
	struct tidep_bin bin;   /* the slabs its objects are in; first, see of_bin */
	struct tide_pool *pool; /* fixed */
	unsigned node;          /* index among the pool's depots; fixed */
	/* The bin's lock: */
	struct tidep_magazine *loose;
	_Atomic uint32_t loose_objs; /* written with the lock, read as a hint */

	_Alignas(64) _Atomic uint64_t full;
	_Alignas(64) _Atomic uint64_t empty;
	_Alignas(64) _Atomic uint64_t contended; /* lost races for `full` */
	_Atomic uint64_t grown_at;               /* contended when magazines last grew */
};

/* Nothing in it. placement is the bin's node. */
void tidep_pool_depot_init(struct tidep_depot *depot, struct tide_pool *pool, unsigned node,
			   const struct tidep_geometry *geometry, unsigned placement);

/* Destroys slabs and magazines. No object may be live; no other thread inside. */
void tidep_pool_depot_fini(struct tidep_depot *depot);

/* NULL: none on the stack, and for full none loose either. */
struct tidep_magazine *tidep_pool_depot_pop_full(struct tidep_depot *depot);
struct tidep_magazine *tidep_pool_depot_pop_empty(struct tidep_depot *depot);

/*
 * An empty magazine: off the stack, or a new one of the pool's size; NULL: no memory.
 * On the depot's node; a new one of a pool whose one depot serves all nodes is on
 * the caller's.
 */
struct tidep_magazine *tidep_pool_depot_take_empty(struct tidep_depot *depot);

/* Takes the magazine over; an empty one that is not of the pool's size is destroyed. */
void tidep_pool_depot_push(struct tidep_depot *depot, struct tidep_magazine *magazine);

/* Takes a partly filled magazine over and joins it with others. NULL is nothing to do. */
void tidep_pool_depot_put_partial(struct tidep_depot *depot, struct tidep_magazine *magazine);

/* One object at a time. put_one: false when there is no memory for a magazine. */
bool tidep_pool_depot_put_one(struct tidep_depot *depot, struct tidep_entry entry);
bool tidep_pool_depot_get_one(struct tidep_depot *depot, struct tidep_entry *entry);

/* Calls fn for each idle object here. */
void tidep_pool_depot_each(struct tidep_depot *depot,
			   void (*fn)(const struct tidep_entry *entry, void *arg), void *arg);

static inline struct tidep_depot *
tidep_pool_depot_of(struct tidep_bin *bin)
{
	return (struct tidep_depot *)(void *)bin;
}

#endif
