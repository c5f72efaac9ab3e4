/* SPDX-License-Identifier: MIT */
/*
 * The gate of a thread cache: its owner goes in and out without any atomic
 * read-modify-write or fence, and yet a collector on another thread can take
 * the cache's content while the owner sleeps. Modelled in models/gate.pml.
 *
 *     owner                              collector (registry lock held)
 *     ENTER  busy = 1                    RAISE    flag |= DRAIN
 *            compiler barrier            BARRIER  membarrier, once for many gates
 *     LOOK   flag?  (acquire)            TAKE     busy?  (acquire)
 *              set: LEAVE, go round               0: the content is ours
 *            use the content                      1: skip this cache
 *     LEAVE  busy = 0  (release)         LOWER    flag &= ~DRAIN  (release)
 *
 * After BARRIER every running owner has either made its busy = 1 visible, or
 * will see the flag when it looks. LEAVE's release pairs with TAKE's acquire,
 * LOWER's release with LOOK's acquire. The owner never waits for a collector
 * and a collector never waits for an owner.
 *
 * Without membarrier the gate is strong: flag always has STRONG set, so that
 * every get and put goes the slow way, where an exchange and a look stand in
 * for the barrier. If membarrier starts failing later, a cache is passed over until its
 * owner was seen to have entered the strong way (`acked`).
 */
#ifndef TIDEP_POOL_GATE_H
#define TIDEP_POOL_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define TIDEP_GATE_DRAIN  1u /* a collector is at work */
#define TIDEP_GATE_STRONG 2u /* there is no membarrier; never cleared */

struct tidep_gate {
	_Atomic uint32_t busy;  /* the owner's: it is inside */
	_Atomic uint32_t flag;  /* collectors' */
	_Atomic uint32_t acked; /* the owner's: it has entered the strong way */
};

/* [GATE_LEAVE] Owner only. */
static inline void
tidep_pool_gate_leave(struct tidep_gate *gate)
{
	atomic_store_explicit(&gate->busy, 0, memory_order_release);
}

/*
 * For the fast path: owner only, not inside. false: a collector is at work, or
 * the gate is strong: leave, and go the slow way.
 */
static inline bool
tidep_pool_gate_enter_weak(struct tidep_gate *gate)
{
	/* [GATE_ENTER] */
	atomic_store_explicit(&gate->busy, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	/* [GATE_LOOK] */
	return __builtin_expect(atomic_load_explicit(&gate->flag, memory_order_acquire) == 0, 1);
}

/* Owner only, not inside. false: a collector is at work, go round the cache. */
bool tidep_pool_gate_enter(struct tidep_gate *gate);

/* Is this thread, the owner, inside already? Then it has been interrupted there. */
static inline bool
tidep_pool_gate_is_inside(const struct tidep_gate *gate)
{
	return atomic_load_explicit(&gate->busy, memory_order_relaxed) != 0;
}

/* Registers for membarrier; says whether gates are strong from the start. */
void tidep_pool_gate_start(void);

/* true: no membarrier now. */
bool tidep_pool_gate_is_strong(void);

/* A gate nobody is at. */
void tidep_pool_gate_init(struct tidep_gate *gate);

/*
 * For a collector, which holds the registry lock: raise any gates, then one
 * barrier, then for each gate try to take and in any case lower.
 */
void tidep_pool_gate_raise(struct tidep_gate *gate);
/* false: no membarrier (any more): all gates there are have to be made strong. */
bool tidep_pool_gate_barrier(void);
void tidep_pool_gate_make_strong(struct tidep_gate *gate);
bool tidep_pool_gate_try_take(struct tidep_gate *gate);
void tidep_pool_gate_lower(struct tidep_gate *gate);

#endif
