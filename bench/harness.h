/* SPDX-License-Identifier: MIT */
/*
 * What a contender's program is made of: it defines its cells (with cells.h, so
 * that every contender runs the same loops), and the harness has the threads,
 * the clock and main().
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stddef.h>
#include <stdint.h>

#include "bench/ring.h"

#define BENCH_OBJECT_BYTES 64
#define BENCH_THREADS_MAX  64
#define BENCH_LIVE_MAX     1024 /* objects a thread of a cell holds at once */

/* One thread of a cell that is being run. Its own alone, except the ring. */
struct bench_thread {
	unsigned number;
	uint64_t random;
	void *live[BENCH_LIVE_MAX];
	struct bench_ring *ring; /* shared with the other thread of the pair */
};

struct bench_cell {
	const char *name;
	unsigned threads;
	unsigned threads_an_object;                /* 2 where one gets and another puts */
	unsigned blocks;                           /* timed; one more before them is not */
	uint64_t n;                                /* objects a thread gets and puts in a block */
	void (*fill)(struct bench_thread *thread); /* before each block, not timed; or NULL */
	void (*run)(struct bench_thread *thread, uint64_t n);
	void (*drain)(struct bench_thread *thread); /* after each block, not timed; or NULL */
};

/* The contender's. */
extern const char bench_contender[];
extern const struct bench_cell bench_cells[]; /* ends with a NULL name */
void bench_start(void);                       /* once */
void bench_thread_start(void);                /* in each thread of a cell */

/* For what cannot fail in a bench: says so and exits. */
_Noreturn void bench_die(const char *what);

/* The compiler must take the bytes at p as read and written here. */
static inline void
bench_escape(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

/* Marsaglia's xorshift: a few instructions, the same sequence for all. */
static inline uint64_t
bench_random(struct bench_thread *thread)
{
	uint64_t x = thread->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	thread->random = x;
	return x;
}

#endif
