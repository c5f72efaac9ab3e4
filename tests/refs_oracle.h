/* SPDX-License-Identifier: MIT */
/*
 * refs_oracle.h - what refs_oracle.c knows: every life that ever was, and of each
 * pool which of them are not over, what was done, and so what it must answer.
 */
#ifndef REFS_ORACLE_H
#define REFS_ORACLE_H

#include <tide.h>

#include "stress.h"

#define OPERATIONS (1000000u / STRESS_SLOWDOWN)
#define POOLS      4
#define LIVE_MAX   300
#define LIVES_MAX  (8u << 20)
#define NONE       UINT32_MAX

enum state { LIVE, LEAVING, BREAKING, DEAD };

/* One life of one object, remembered for ever. */
struct life {
	tide_ref ref;
	unsigned char *obj;
	uint32_t pool; /* index of pools[]: only while it is not DEAD */
	uint32_t at;   /* in that pool's list */
	uint32_t used;
	uint32_t pins : 28;
	uint32_t state : 4;
	uint32_t visited;
};

struct pool {
	tide_pool *pool;
	size_t bytes;
	size_t max_objs; /* 0: no cap */
	bool hooked;
	uint32_t list[LIVE_MAX]; /* lives that are not DEAD */
	uint32_t listed;
	uint64_t gets, puts, discards;
	uint64_t inits, finis;
	bool undone; /* a bulk get failed: gets and puts are more than ours */
};

extern struct pool pools[POOLS];
extern struct life *lives;
extern uint32_t lives_n;
extern uint32_t generation_ends, pools_made;
extern uint64_t random_state;
extern uint32_t last_kind; /* of the last report */

/* Makes the first pools. */
void start_oracle(void);
uint32_t below(uint32_t n);

/* So many since the last time, the last one of this kind; 0: of any. */
void expect_reports(unsigned n, uint32_t kind);

void make_pool(struct pool *pool);
void check_stats(struct pool *pool);
/* What has been let go, and was neither discarded nor broken, has retired. */
void count_retired(const struct pool *pool);
/* Must the pool refuse n more? */
bool must_fail(const struct pool *pool, size_t n);

/* The index of the life with that ref; NONE: there never was one. */
uint32_t life_of(tide_ref ref);
/* Any life of the pool that is not DEAD, or NONE. */
uint32_t any_of(const struct pool *pool);
/* A new object of pools[p]: clean, with a ref that never was before; stamps it. */
void begin_life(uint32_t p, void *obj, tide_ref ref);
/* It is over now, and what its slot holds is clean or gone. */
void end_life(uint32_t index, bool is_discard);
/* The same, or once nobody has it pinned. */
void after_put(uint32_t index, bool is_discard);
/* Objects are looked at from end to end if they are small, or else now and then. */
size_t looked_at(const struct pool *pool);
/* Its first bytes are as its owner left them. */
void check_stamp(uint32_t index, size_t bytes);

#endif
