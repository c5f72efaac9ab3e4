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
 * `busy` is the lowest bit of two words, of which the owner uses one at a time:
 * it comes in by `gets` or by `puts`, and counts there, above that bit, what it
 * has done, as it leaves. So a hit's count costs no store of its own (the next
 * put's locked instruction waits for every store before it).
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

#define TIDEP_GATE_BUSY UINT64_C(1) /* the owner is inside */
#define TIDEP_GATE_ONE  UINT64_C(2) /* one get, or put */

typedef _Atomic uint64_t tidep_gate_door;

struct tidep_gate {
	tidep_gate_door gets;   /* the owner's */
	tidep_gate_door puts;   /* the owner's */
	_Atomic uint32_t flag;  /* collectors' */
	_Atomic uint32_t acked; /* the owner's: it has entered the strong way */
};

static inline uint64_t
tidep_pool_gate_read(const tidep_gate_door *door)
{
	return atomic_load_explicit(door, memory_order_relaxed);
}

/* Is this thread, the owner, inside already? Then it has been interrupted there. */
static inline bool
tidep_pool_gate_is_inside(const struct tidep_gate *gate)
{
	uint64_t both = tidep_pool_gate_read(&gate->gets) | tidep_pool_gate_read(&gate->puts);

	return (both & TIDEP_GATE_BUSY) != 0;
}

/* [GATE_LEAVE] Owner only, inside by this door; counts n things done. */
static inline void
tidep_pool_gate_leave(tidep_gate_door *door, uint64_t n)
{
	atomic_store_explicit(door,
			      tidep_pool_gate_read(door) - TIDEP_GATE_BUSY + n * TIDEP_GATE_ONE,
			      memory_order_release);
}

/*
 * In one instruction, or a signal handler that comes between a load and a store,
 * goes in and out and counts, would find its count undone. Only this thread
 * writes the word, so it need not be a locked one.
 */
static inline void
tidep_pool_gate_mark_busy(tidep_gate_door *door)
{
#ifdef __x86_64__
	__asm__ volatile("addq %1, %0" : "+m"(*door) : "i"((int)TIDEP_GATE_BUSY) : "cc");
#else
	atomic_fetch_add_explicit(door, TIDEP_GATE_BUSY, memory_order_relaxed);
#endif
}

/*
 * For the fast path: owner only, by one of its doors. false, and outside: it is
 * inside already (a signal handler has interrupted it, or there is no cache), or a
 * collector is at work, or the gate is strong: the slow way knows.
 */
static inline bool
tidep_pool_gate_enter_weak(struct tidep_gate *gate, tidep_gate_door *door)
{
	if (__builtin_expect(tidep_pool_gate_is_inside(gate), 0))
		return false;
	/* [GATE_ENTER] */
	tidep_pool_gate_mark_busy(door);
	atomic_signal_fence(memory_order_seq_cst);
	/* [GATE_LOOK] */
	if (__builtin_expect(atomic_load_explicit(&gate->flag, memory_order_acquire) == 0, 1))
		return true;
	tidep_pool_gate_leave(door, 0);
	return false;
}

/*
 * The slow way, which counts nothing here. Owner only, not inside. false: a
 * collector is at work, go round the cache.
 */
bool tidep_pool_gate_enter(struct tidep_gate *gate);

static inline void
tidep_pool_gate_leave_slow(struct tidep_gate *gate)
{
	tidep_pool_gate_leave(&gate->gets, 0);
}

/* Owner only: it will not go on with what it is inside for. Counts nothing. */
static inline void
tidep_pool_gate_abandon(struct tidep_gate *gate)
{
	tidep_gate_door *doors[] = { &gate->gets, &gate->puts };

	for (unsigned i = 0; i < 2; i++)
		if ((tidep_pool_gate_read(doors[i]) & TIDEP_GATE_BUSY) != 0)
			tidep_pool_gate_leave(doors[i], 0);
}

/* Registers for membarrier; says whether gates are strong from the start. */
void tidep_pool_gate_start(void);

/* true: no membarrier now. */
bool tidep_pool_gate_is_strong(void);

/* A gate nobody is at, that nothing was done behind. */
void tidep_pool_gate_init(struct tidep_gate *gate);

/* What was done, for any thread: a sum of hits is exact once the owner rests. */
static inline uint64_t
tidep_pool_gate_count(const tidep_gate_door *door)
{
	return tidep_pool_gate_read(door) / TIDEP_GATE_ONE;
}

/*
 * For a collector, which holds the registry lock: raise any gates, then one
 * barrier, then for each gate try to take and in any case lower.
 */
void tidep_pool_gate_raise(struct tidep_gate *gate);
/* false: no membarrier (any more): all gates there are have to be made strong. */
bool tidep_pool_gate_barrier(void);
void tidep_pool_gate_make_strong(struct tidep_gate *gate);
bool tidep_pool_gate_try_take(const struct tidep_gate *gate);
/* Is the owner outside? For who waits until it is, with the gate raised. */
bool tidep_pool_gate_is_left(const struct tidep_gate *gate);
void tidep_pool_gate_lower(struct tidep_gate *gate);

#endif
