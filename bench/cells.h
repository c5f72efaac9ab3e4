/* SPDX-License-Identifier: MIT */
/*
 * The loops, compiled once into each contender's program. The includer has
 * defined contender_get(), contender_put() and CONTENDER_HANDS_OVER (may a
 * thread put what another one got?). The axes are listed in harness.c.
 */
#ifndef BENCH_CELLS_H
#define BENCH_CELLS_H

#include "bench/harness.h"

#define BURST_OBJS 128
#define HOLD_OBJS  1000

static inline void *
get(void)
{
	void *obj = contender_get();

	if (__builtin_expect(obj == NULL, 0))
		bench_die("out of objects");
	return obj;
}

/* What an owner does at the least: it writes to the object. */
static inline void
touch(void *obj, uint64_t value)
{
	*(uint64_t *)obj = value;
	bench_escape(obj);
}

static void
run_pair(struct bench_thread *thread, uint64_t n)
{
	(void)thread;
	for (uint64_t i = 0; i < n; i++) {
		void *obj = get();

		touch(obj, i);
		contender_put(obj);
	}
}

static void
run_burst(struct bench_thread *thread, uint64_t n)
{
	void **live = thread->live;

	for (uint64_t i = 0; i < n; i += BURST_OBJS) {
		for (unsigned k = 0; k < BURST_OBJS; k++) {
			live[k] = get();
			touch(live[k], i);
		}
		for (unsigned k = 0; k < BURST_OBJS; k++)
			contender_put(live[k]);
	}
}

static void
fill_hold(struct bench_thread *thread)
{
	for (unsigned k = 0; k < HOLD_OBJS; k++)
		thread->live[k] = get();
}

static void
drain_hold(struct bench_thread *thread)
{
	for (unsigned k = 0; k < HOLD_OBJS; k++)
		contender_put(thread->live[k]);
}

static void
run_hold(struct bench_thread *thread, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t k = (bench_random(thread) >> 32) * HOLD_OBJS >> 32;
		void *obj = get();

		touch(obj, i);
		contender_put(thread->live[k]);
		thread->live[k] = obj;
	}
}

/* The oldest of the live ones goes: a pair that moves on over all of them. */
static void
run_rove(struct bench_thread *thread, uint64_t n)
{
	unsigned k = 0;

	for (uint64_t i = 0; i < n; i++) {
		void *obj = get();

		touch(obj, i);
		contender_put(thread->live[k]);
		thread->live[k] = obj;
		k = k + 1 < HOLD_OBJS ? k + 1 : 0;
	}
}

#if CONTENDER_HANDS_OVER
static void
run_hand_over(struct bench_thread *thread, uint64_t n)
{
	struct bench_ring *ring = thread->ring;

	if (thread->number % 2 == 1) {
		for (uint64_t i = 0; i < n; i++)
			contender_put(bench_ring_pop(ring));
		return;
	}
	for (uint64_t i = 0; i < n; i++) {
		void *obj = get();

		touch(obj, i);
		bench_ring_push(ring, obj);
	}
}
#endif

/* n: multiples of the burst and of the ring's batch. */
const struct bench_cell bench_cells[] = {
	{ "pair", 1, 1, 31, 1 << 18, NULL, run_pair, NULL },
	{ "rove", 1, 1, 31, 1 << 18, fill_hold, run_rove, drain_hold },
	{ "hold-1000", 1, 1, 31, 1 << 18, fill_hold, run_hold, drain_hold },
	{ "burst", 1, 1, 31, 1 << 18, NULL, run_burst, NULL },
	{ "burst", 4, 1, 7, 1 << 21, NULL, run_burst, NULL },
#if CONTENDER_HANDS_OVER
	{ "hand-over", 2, 2, 7, 1 << 19, NULL, run_hand_over, NULL },
	{ "hand-over", 4, 2, 7, 1 << 19, NULL, run_hand_over, NULL },
#endif
	{ 0 },
};

#endif
