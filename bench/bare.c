/* SPDX-License-Identifier: MIT */
/* The bare stack as a shared library. */
#include "bench/bare.h"

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
	return bare_fill(&stack);
}
