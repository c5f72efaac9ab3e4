/* SPDX-License-Identifier: MIT */
/*
 * A magazine: a small stack of idle objects that moves as a whole between
 * thread caches and depots (Bonwick and Adams, "Magazines and Vmem", USENIX
 * 2001). It lies on the node of the thread or depot that made it. Each entry
 * carries where the object's slot word is, so that a get need not look it up,
 * and what it says, so that a get need not read it: a load so soon after the
 * put's locked instruction waits for it, 2.5 ns of a pair's 11.4 (see DESIGN.md).
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
	uint64_t idle; /* what the word says while the object rests here */
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
	struct tidep_entry at[];
};

/* An empty magazine of a class on a node; NULL: no memory. Any thread. */
struct tidep_magazine *tidep_pool_magazine_create(unsigned node, unsigned class);
void tidep_pool_magazine_destroy(struct tidep_magazine *magazine);

/* Bytes committed for magazines, of all nodes. */
uint64_t tidep_pool_magazine_bytes(void);

/* Prepares the magazines of a node; before any other call for it. */
void tidep_pool_magazines_init(unsigned nodes);

#endif
