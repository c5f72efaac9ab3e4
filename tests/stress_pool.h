/* SPDX-License-Identifier: MIT */
/*
 * stress_pool.h - what the files of stress_pool.c share: the pools, who holds
 * what, and what a thread can do.
 */
#ifndef STRESS_POOL_H
#define STRESS_POOL_H

#include <pthread.h>
#include <stdatomic.h>

#include <tide.h>

#include "stress.h"

#define HELD_MAX 40
#define PATTERN  0xa5 /* what init and reset of the hooked pools leave */
#define HEADER   8    /* hooked objects begin with their record's number */

struct subject {
	const char *name;
	size_t bytes;
	size_t max_objs;
	unsigned weight; /* how often it is chosen */
	uint32_t placement, node;
	bool hooked;
	bool wipes;

	tide_pool *pool;
	_Atomic int64_t live; /* not more than are */
	_Atomic uint64_t gets, puts, discards, undone;
	_Atomic uint64_t inits, finis;
};

#define SUBJECTS 10
#define PARTS    (&subjects[0])
#define BOUND    (&subjects[3])

extern struct subject subjects[SUBJECTS];

struct held {
	struct subject *subject;
	unsigned char *obj;
	tide_ref ref; /* 0: got without */
	uint64_t stamp;
	size_t used;
};

struct worker {
	pthread_t thread;
	unsigned id;
	bool parks;
	uint64_t random;
	uint64_t sequence;
	unsigned helds;
	struct held held[HELD_MAX];
};

/* ---- stress_pool_subjects.c: the pools, and their hooks -------------------- */

void create_pools(void);
void destroy_pools(void);
/* Nobody is inside tidepool: everything adds up. */
void check_quiet(void);

enum { UNUSED, MADE, OWNED, UNMADE };

struct record;
extern _Atomic uint64_t records_used;

/* Of an object of a hooked pool. */
struct record *record_of(const void *obj);
void set_state(struct record *record, int from, int to);

/* ---- stress_pool_owners.c: what owners do --------------------------------- */

void do_get(struct worker *worker);
void do_get_on(struct worker *worker);
void do_get_bulk(struct worker *worker);
void do_put(struct worker *worker);
void do_put_bulk(struct worker *worker);
void do_post(struct worker *worker);
void do_fetch(struct worker *worker);
void do_move(struct worker *worker);
void do_look(struct worker *worker);
/* Puts what was posted and not fetched. */
void empty_mailbox(uint64_t *random);

/* ---- stress_pool_misuse.c: what they must not do -------------------------- */

extern _Atomic uint64_t reports, misuses;

void on_misuse(const struct tide_misuse_report *report, void *arg);
void do_misuse(struct worker *worker);
void do_put_twice(void);
void do_race(struct worker *worker);
/* Ends the life that this worker began, if it did. */
void race_end(struct worker *worker);

#endif
