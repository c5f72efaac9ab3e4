/* SPDX-License-Identifier: MIT */
/*
 * The collector's side of the gate, and the owner's without membarrier.
 */
#include "config.h"

#include "pool/gate.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic bool is_strong;

static long
membarrier(int command)
{
	return syscall(__NR_membarrier, command, 0, 0);
}

void
tidep_pool_gate_start(void)
{
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) != 0)
		atomic_store_explicit(&is_strong, true, memory_order_relaxed);
}

bool
tidep_pool_gate_is_strong(void)
{
	return atomic_load_explicit(&is_strong, memory_order_relaxed);
}

void
tidep_pool_gate_init(struct tidep_gate *gate)
{
	bool strong = tidep_pool_gate_is_strong();

	atomic_store_explicit(&gate->gets, 0, memory_order_relaxed);
	atomic_store_explicit(&gate->puts, 0, memory_order_relaxed);
	atomic_store_explicit(&gate->acked, strong, memory_order_relaxed);
	atomic_store_explicit(&gate->flag, strong ? TIDEP_GATE_STRONG : 0, memory_order_relaxed);
}

bool
tidep_pool_gate_enter(struct tidep_gate *gate)
{
	uint32_t flag;

	if (tidep_pool_gate_enter_weak(gate, &gate->gets))
		return true;
	flag = atomic_load_explicit(&gate->flag, memory_order_relaxed);
	if (!(flag & TIDEP_GATE_STRONG))
		return false;
	/* [GATE_STRONG_ENTER] Before the look in the order of all such operations. */
	atomic_fetch_add_explicit(&gate->gets, TIDEP_GATE_BUSY, memory_order_seq_cst);
	/* [GATE_ACK] Release: our weak entries are over for whoever sees this. */
	atomic_store_explicit(&gate->acked, 1, memory_order_release);
	/* [GATE_STRONG_LOOK] */
	flag = atomic_load_explicit(&gate->flag, memory_order_seq_cst);
	if (!(flag & TIDEP_GATE_DRAIN))
		return true;
	tidep_pool_gate_leave_slow(gate);
	return false;
}

void
tidep_pool_gate_raise(struct tidep_gate *gate)
{
	/* [GATE_RAISE] */
	atomic_fetch_or_explicit(&gate->flag, TIDEP_GATE_DRAIN, memory_order_seq_cst);
}

bool
tidep_pool_gate_barrier(void)
{
	if (tidep_pool_gate_is_strong())
		return false;
	/* [GATE_BARRIER] */
	if (membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0)
		return true;
	atomic_store_explicit(&is_strong, true, memory_order_relaxed);
	return false;
}

void
tidep_pool_gate_make_strong(struct tidep_gate *gate)
{
	/* [GATE_STRENGTHEN] */
	atomic_fetch_or_explicit(&gate->flag, TIDEP_GATE_STRONG, memory_order_seq_cst);
}

bool
tidep_pool_gate_is_left(const struct tidep_gate *gate)
{
	/*
	 * [GATE_TAKE] Acquire (and more, for strong gates): pairs with LEAVE's release.
	 * Two looks are as good as one: who comes in by either door after the barrier
	 * sees the flag, and goes.
	 */
	return ((atomic_load_explicit(&gate->gets, memory_order_seq_cst) |
		 atomic_load_explicit(&gate->puts, memory_order_seq_cst)) &
		TIDEP_GATE_BUSY) == 0;
}

bool
tidep_pool_gate_try_take(const struct tidep_gate *gate)
{
	/* [GATE_TAKE_ACKED] Acquire: pairs with the release of GATE_ACK. */
	if (tidep_pool_gate_is_strong() &&
	    atomic_load_explicit(&gate->acked, memory_order_acquire) == 0)
		return false;
	return tidep_pool_gate_is_left(gate);
}

void
tidep_pool_gate_lower(struct tidep_gate *gate)
{
	/* [GATE_LOWER] Release: the owner's look sees what we left of the cache. */
	atomic_fetch_and_explicit(&gate->flag, ~TIDEP_GATE_DRAIN, memory_order_release);
}
