/* SPDX-License-Identifier: MIT */
/* The bare stack as a shared library. */
#include "bench/bare.h"

#include <stdatomic.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

/* As tidepool finds its own. */
static __thread struct bare_stack stack __attribute__((tls_model("initial-exec")));

EXPORT void *
bare_get(void)
{
	return bare_pop(&stack);
}

EXPORT void
bare_put(void *obj)
{
	bare_push(&stack, obj);
}

static __thread char *first_obj __attribute__((tls_model("initial-exec")));
static __thread _Atomic uint64_t *words __attribute__((tls_model("initial-exec")));

/* Apart from the objects, and found by arithmetic, as tidepool's are. */
static _Atomic uint64_t *
word_of(const void *obj)
{
	return &words[(size_t)((const char *)obj - first_obj) / BARE_OBJECT_BYTES];
}

EXPORT void *
bare_rmw_get(void)
{
	void *obj = bare_pop(&stack);

	atomic_store_explicit(word_of(obj), 1, memory_order_release);
	return obj;
}

EXPORT void
bare_rmw_put(void *obj)
{
	uint64_t was = 1;

	if (!atomic_compare_exchange_strong_explicit(word_of(obj), &was, 0, memory_order_acq_rel,
						     memory_order_relaxed))
		abort();
	bare_push(&stack, obj);
}

/* What a thread is given is never freed: the program ends soon. */
EXPORT int
bare_fill(struct bare_stack *into)
{
	char *objs = aligned_alloc(64, (size_t)BARE_OBJS * BARE_OBJECT_BYTES);

	if (objs == NULL)
		return -1;
	while (into->n < BARE_OBJS)
		bare_push(into, objs + into->n * BARE_OBJECT_BYTES);
	return 0;
}

EXPORT int
bare_thread_start(void)
{
	if (bare_fill(&stack) != 0)
		return -1;
	first_obj = stack.at[0];
	words = calloc(BARE_OBJS, sizeof(*words));
	return words == NULL ? -1 : 0;
}
