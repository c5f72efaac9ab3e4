/* SPDX-License-Identifier: MIT */
/*
 * A bounded ring from one producer to one consumer (Lamport's), the same for
 * all contenders. So that it costs little beside what is measured, each side
 * keeps its own idea of the other's index, and shows its own one only every
 * RING_BATCH objects.
 *
 *              | push             | pop
 *     ---------+------------------+-----------------
 *     push     | X (one producer) | any
 *     pop      | any              | X (one consumer)
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_RING_OBJS  1024u
#define BENCH_RING_BATCH 32u
#define BENCH_RING_SPINS 64

struct bench_ring {
	_Alignas(128) _Atomic uint64_t pushed; /* release: the producer's; shown to the consumer */
	_Alignas(128) _Atomic uint64_t popped; /* release: the consumer's; shown to the producer */
	_Alignas(128) uint64_t head, popped_seen; /* the producer's */
	_Alignas(128) uint64_t tail, pushed_seen; /* the consumer's */
	_Alignas(128) void *at[BENCH_RING_OBJS];
};

/* Waits a little; with more threads than cpus the other side may need ours. */
static inline void
bench_ring_wait(unsigned *spins)
{
	if (++*spins % BENCH_RING_SPINS == 0)
		sched_yield();
	else
		__builtin_ia32_pause();
}

static inline void
bench_ring_push(struct bench_ring *ring, void *obj)
{
	unsigned spins = 0;

	while (ring->head - ring->popped_seen == BENCH_RING_OBJS) {
		/* Pairs with the release in pop. */
		ring->popped_seen = atomic_load_explicit(&ring->popped, memory_order_acquire);
		if (ring->head - ring->popped_seen == BENCH_RING_OBJS)
			bench_ring_wait(&spins);
	}
	ring->at[ring->head++ % BENCH_RING_OBJS] = obj;
	if (ring->head % BENCH_RING_BATCH == 0)
		atomic_store_explicit(&ring->pushed, ring->head, memory_order_release);
}

static inline void *
bench_ring_pop(struct bench_ring *ring)
{
	unsigned spins = 0;
	void *obj;

	while (ring->tail == ring->pushed_seen) {
		/* Pairs with the release in push. */
		ring->pushed_seen = atomic_load_explicit(&ring->pushed, memory_order_acquire);
		if (ring->tail == ring->pushed_seen)
			bench_ring_wait(&spins);
	}
	obj = ring->at[ring->tail++ % BENCH_RING_OBJS];
	if (ring->tail % BENCH_RING_BATCH == 0)
		atomic_store_explicit(&ring->popped, ring->tail, memory_order_release);
	return obj;
}

#endif
