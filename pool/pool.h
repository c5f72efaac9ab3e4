/* SPDX-License-Identifier: MIT */
/*
 * A pool, as the rest of the room sees it; and the registry of all pools,
 * caches and threads, behind one lock that no get or put that hits takes.
 *
 * Locks, outermost first: the registry's, a depot's (its bin's), a magazine
 * bin's, the arena's. Hooks and the misuse handler run with none of them.
 */
#ifndef TIDEP_POOL_POOL_H
#define TIDEP_POOL_POOL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool/depot.h"
#include "pool/env.h"
#include "pool/quarantine.h"
#include "pool/snapshot.h"
#include "pool/tide.h"

struct tidep_cache;

/*
 * What happens, counted. In a cache the owner counts with plain stores; in a
 * pool, for those without a cache and for caches that are gone, with atomic
 * additions. Each get is in one of three; what is shown is sums, never
 * differences, so that no counter is ever seen to fall.
 */
struct tidep_counts {
	_Atomic uint64_t hits; /* gets served from a magazine of the cache, */
	_Atomic uint64_t puts;
	_Atomic uint64_t misses;      /* others, of an object of the thread's node */
	_Atomic uint64_t remote_gets; /* and of another node's */
	_Atomic uint64_t remote_puts;
	_Atomic uint64_t refills;
	_Atomic uint64_t flushes;
	_Atomic uint64_t discards;
	_Atomic uint64_t broken;
	_Atomic uint64_t failed_gets;
};

/* All counts of one pool, at one moment or nearly. */
struct tidep_counts_sum {
	uint64_t hits, puts, misses, remote_gets, remote_puts, refills, flushes;
	uint64_t discards, broken, failed_gets;
	uint64_t gets; /* all three kinds */
	uint64_t live; /* gets - puts - discards */
	uint64_t caches;
};

static inline void
tidep_count_local(_Atomic uint64_t *count, uint64_t n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void
tidep_count_shared(_Atomic uint64_t *count)
{
	atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

struct tide_pool {
	/* Read by every get and put; fixed. */
	uint32_t index;       /* in threads' tables */
	uint64_t hooked_from; /* used bytes from which a put is no plain hit; see init_pool */
	uint64_t put_step;    /* what a put adds to a word; see arena/slot.h */
	uint64_t end_life;    /* lives from here on: the last of their slot */
	size_t object_bytes;
	uint64_t index_mask; /* of a life: the slot's index */
	uint64_t reciprocal; /* ceil(2^32 / stride) */
	uint32_t stride;     /* of its slots */
	size_t depots_bytes; /* of depot[]: is a bin one of ours? */
	tide_reset_fn *reset;
	void *ctx;

	/* Fixed, for slower paths. */
	tide_init_fn *init;
	tide_fini_fn *fini;
	tide_verify_fn *verify;
	uint64_t max_objs; /* UINT64_MAX: no cap */
	uint32_t placement;
	unsigned depots;                     /* entries of depot[]: one, or one a node */
	unsigned class_max;                  /* of magazines */
	bool caches_objects;                 /* threads have caches of it */
	bool checks_reset;                   /* TIDEDEBUG=verifyreset=1 */
	struct tidep_quarantine *quarantine; /* TIDEDEBUG=quarantine=N; NULL: off */
	char name[TIDEP_NAME_BYTES];         /* as configured */
	char label[TIDEP_NAME_BYTES];        /* in reports: name, or name#2 */

	/* The registry lock's. */
	struct tide_pool *next; /* by age */
	struct tidep_cache *caches;
	unsigned ordinal; /* among pools of this name */

	/* Any thread's. */
	_Alignas(64) struct tidep_counts counts;
	_Atomic uint64_t objs; /* live and idle ones, and those being made */
	_Atomic uint64_t created;
	_Atomic uint64_t released;
	/*
	 * Threads were cancelled inside their caches: at most so many objects are missing
	 * from the magazines, or wrong in the counters.
	 */
	_Atomic uint64_t lost;
	_Atomic uint32_t class; /* of new magazines; only grows */
	_Atomic bool closing;   /* being destroyed: gets fail, puts are let go */

	_Alignas(64) struct tidep_depot depot[];
};

static inline unsigned
tidep_pool_magazine_class(const struct tide_pool *pool)
{
	return atomic_load_explicit(&pool->class, memory_order_relaxed);
}

/* ---- the registry (pool.c) ---- */

void tidep_pool_registry_lock(void);
void tidep_pool_registry_unlock(void);
struct tide_pool *tidep_pool_first_locked(void); /* then ->next */
unsigned tidep_pool_thread_count(void);
void tidep_pool_sum_locked(const struct tide_pool *pool, struct tidep_counts_sum *sum);

/* The settings; valid once tide_init() has succeeded. */
extern struct tidep_env tidep_pool_env;

/* ---- one object in hand, in no magazine (object.c) ---- */

/* An object, or the place for one, and what is known about it. */
struct tidep_object {
	struct tidep_granule *granule;
	uint32_t slot;
	uint64_t life; /* as a ref or its word said, before it was asked whose slab it is in */
	struct tidep_entry entry;
};

/*
 * Which slot of the pool obj is, and which life it is in or was. 0, or the kind of
 * misuse; for TIDE_WRONG_POOL object is filled in too, else granule is NULL.
 */
uint32_t tidep_pool_object_find(const struct tide_pool *pool, const void *obj,
				struct tidep_object *object);

/* The same for an object in hand. */
struct tidep_object tidep_pool_object_of(void *obj);

/* The reset hook and its checks. false: the object is broken. No lock held. */
bool tidep_pool_object_reset(struct tide_pool *pool, const struct tidep_entry *entry, size_t used);

/*
 * Makes an object in a claimed, empty slot and gives it to the caller. 0, or
 * init's error; the slot is back in its bin then. No lock held.
 */
int tidep_pool_object_make(struct tide_pool *pool, const struct tidep_object *object);

/* Was this the last life of an object in hand? Then its slot is not used again. */
bool tidep_pool_object_is_used_up(const struct tidep_object *object);

/*
 * The end of an object in hand: fini, zero bytes, slot back. No lock held. was_live: by
 * a put, or a discard, that is counted after it; not: it was idle.
 */
void tidep_pool_object_let_go(struct tide_pool *pool, const struct tidep_object *object,
			      bool was_live);

/* An object in hand was put, with all that follows: reset, then stored or let go. */
void tidep_pool_object_put(struct tide_pool *pool, void *obj, size_t used);

/* An object in hand was discarded. */
void tidep_pool_object_discard(struct tide_pool *pool, void *obj);

/* Which pool's slabs a bin is of, by name, for a report. */
void tidep_pool_owner_label(const struct tidep_bin *bin, char label[TIDEP_NAME_BYTES]);

/* Is the bin one of this pool's? Reads nothing but the pool. */
static inline bool
tidep_pool_has_bin(const struct tide_pool *pool, const struct tidep_bin *bin)
{
	return (uintptr_t)bin - (uintptr_t)pool->depot < pool->depots_bytes;
}

/* ---- refs (ref.c) ---- */

static inline uint64_t
tidep_pool_ref_life(tide_ref ref)
{
	return ref & ((UINT64_C(1) << TIDEP_LIFE_BITS) - 1);
}

static inline uint64_t
tidep_pool_ref_number(tide_ref ref)
{
	return ref >> TIDEP_LIFE_BITS;
}

/* Where a ref's slot would be in a slab of the pool that begins in this granule of the space. */
static inline void
tidep_pool_ref_slot(const struct tide_pool *pool, const struct tidep_space *space, size_t at,
		    tide_ref ref, struct tidep_object *object)
{
	uint32_t slot = (uint32_t)(ref & pool->index_mask);

	object->granule = &space->granules[at];
	object->slot = slot;
	object->life = tidep_pool_ref_life(ref);
	object->entry.obj = tidep_arena_base_at(space, at) + (size_t)slot * pool->stride;
	object->entry.word = tidep_arena_words_at(space, at) + slot;
}

/*
 * The ref of the life that begins when an object in hand is handed out. To be asked
 * before that: afterwards a walk may end the life, and another one begin.
 */
static inline tide_ref
tidep_pool_ref_to_come(const void *obj, uint64_t life)
{
	const struct tidep_granule *granule = tidep_arena_granule_of(obj);
	const struct tidep_granule *first = tidep_arena_granule_of(tidep_arena_base_of(granule));

	return tidep_arena_ref_in(tidep_arena_space_of(first), first, life);
}

/* Which slot any ref whatever names; false: none of the pool's. */
bool tidep_pool_ref_find(const struct tide_pool *pool, tide_ref ref, struct tidep_object *object);

/* Does the life go on that was looked for? */
static inline bool
tidep_pool_is_live(const struct tidep_object *object)
{
	uint64_t word = atomic_load_explicit(object->entry.word, memory_order_acquire);

	return tidep_arena_life(word) == object->life && tidep_arena_state(word) == TIDEP_LIVE;
}

/* Reports misuse of obj, with its ref and generation as far as it has any. */
void tidep_pool_object_misuse(uint32_t kind, const struct tide_pool *pool, const void *obj,
			      const char *detail);

#endif
