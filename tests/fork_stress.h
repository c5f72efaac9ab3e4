/* SPDX-License-Identifier: MIT */
/* fork_stress.h - what fork_stress and its hooks share. */
#ifndef TESTS_FORK_STRESS_H
#define TESTS_FORK_STRESS_H

#include <stdatomic.h>

#include <tide.h>

#include "stress.h"

#define LIVE_MARK UINT64_C(0x6c6976652d6f626a)

/* In the order in which they are destroyed: hooks use the plain one. */
enum kind { HOOKED, PLAIN, CAPPED, LARGE, KINDS };

/* Every object: what its hooks and its owner check. */
struct object {
	uint64_t mark; /* LIVE_MARK from init to fini; of HOOKED */
	uint64_t owner;
};

extern tide_pool *pools[KINDS];
extern _Atomic uint64_t finis, inits;
extern __thread uint64_t random_state;
extern __thread bool forks_in_hook; /* this thread's next hook forks */
extern __thread bool in_hook;
extern __thread unsigned born_in_hook; /* the generation of a child that has to leave it first */

/* Forks, and waits for the child. The child returns only to leave a hook. */
void fork_once(unsigned generation);

tide_init_fn init_hook;
tide_reset_fn reset_hook;
tide_fini_fn fini_hook;
tide_verify_fn verify_hook;

#endif
