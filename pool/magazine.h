/* SPDX-License-Identifier: MIT */
/*
 * A magazine: a small stack of idle objects that moves as a whole between
 * thread caches and depots (Bonwick and Adams, "Magazines and Vmem", USENIX
 * 2001). It lies on the node of the thread or depot that made it. Each entry
 * carries the object's slot word beside the object, so that a get need not
 * look the word up.
 *
 * A magazine has one holder: a cache, a depot's lock, or, on a depot's stack,
 * whoever pops it. `link` alone is read by others, by a pop that then fails.
 */
#ifndef TIDEP_POOL_MAGAZINE_H
#define TIDEP_POOL_MAGAZINE_H

#include <stdatomic.h>
#include <stdint.h>

#include "arena/region.h"
#include "arena/slot.h"

struct tidep_entry {
	void *obj;
	tidep_word *word;
};

#define TIDEP_MAGAZINE_CLASSES  9
#define TIDEP_MAGAZINE_OBJS_MIN 2
#define TIDEP_MAGAZINE_OBJS_MAX (TIDEP_MAGAZINE_OBJS_MIN << (TIDEP_MAGAZINE_CLASSES - 1))

struct tidep_magazine {
	_Atomic uint64_t link; /* the next one on a depot's stack; 0 = none */
	uint32_t n;            /* entries; stale while a cache has it loaded */
	uint32_t capacity;
	uint32_t class; /* capacity is OBJS_MIN << class */
	uint32_t node;  /* as tidep_arena_claim() takes it */
	_Alignas(16) struct tidep_entry at[];
};

static_assert(sizeof(struct tidep_entry) == 16, "four entries a line");

/* An empty magazine of a class on a node; NULL: no memory. Any thread. */
struct tidep_magazine *tidep_pool_magazine_create(unsigned node, unsigned class);
void tidep_pool_magazine_destroy(struct tidep_magazine *magazine);

/* Bytes committed for magazines, of all nodes. */
uint64_t tidep_pool_magazine_bytes(void);

/* Prepares the magazines of a node; before any other call for it. */
void tidep_pool_magazines_init(unsigned nodes);

#endif
