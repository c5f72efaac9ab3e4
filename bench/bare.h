/* SPDX-License-Identifier: MIT */
/*
 * The least a pool can do: a thread-local stack of pre-allocated objects, which
 * a put clears. No checks, no other threads, no end.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BARE_OBJS         2048
#define BARE_OBJECT_BYTES 64

struct bare_stack {
	size_t n;
	void *at[BARE_OBJS];
};

static inline void *
bare_pop(struct bare_stack *stack)
{
	return stack->at[--stack->n];
}

static inline void
bare_push(struct bare_stack *stack, void *obj)
{
	memset(obj, 0, BARE_OBJECT_BYTES);
	stack->at[stack->n++] = obj;
}

/* The same in a shared library of its own, called as tidepool is. */
void *bare_get(void);
void bare_put(void *obj);

/*
 * The same again, where a get marks the object in a word of its own and a put takes
 * it back with one compare-and-swap: what tidepool's puts cannot do without, and
 * nothing else of tidepool.
 */
void *bare_rmw_get(void);
void bare_rmw_put(void *obj);

/* Fills the calling thread's stack, once. 0 or -1: no memory. */
int bare_fill(struct bare_stack *stack);
int bare_thread_start(void);

#endif
