/* SPDX-License-Identifier: MIT */
/*
 * The first call: settings, topology, addresses, and what threads need. Each
 * step is done once; one that had no memory is tried again by the next call.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "numa/topo.h"
#include "pool/fork.h"
#include "pool/thread.h"

struct tidep_env tidep_pool_env;

enum step { STEP_ENV, STEP_TOPO, STEP_ARENA, STEP_THREADS, STEP_GATE, STEP_FORK, STEP_DONE };

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool is_started;
/* The lock's: */
static enum step next_step;
static int final_error;

static int
read_env(void)
{
	char complaint[TIDEP_COMPLAINT_BYTES];
	int err = tidep_pool_env_parse(&tidep_pool_env, secure_getenv("TIDEGC"),
				       secure_getenv("TIDEMEMLIMIT"), secure_getenv("TIDENUMA"),
				       secure_getenv("TIDEDEBUG"), complaint, sizeof(complaint));

	if (err != 0)
		fprintf(stderr, "%s\n", complaint);
	return err;
}

static int
do_step(enum step step)
{
	switch (step) {
	case STEP_ENV:
		return read_env();
	case STEP_TOPO:
		return tidep_numa_topo_load(tidep_pool_env.fake_nodes);
	case STEP_ARENA:
		return tidep_arena_start();
	case STEP_THREADS:
		return tidep_pool_threads_start();
	case STEP_GATE:
		tidep_pool_gate_start();
		tidep_pool_magazines_init(tidep_numa_topo.nodes);
		return 0;
	case STEP_FORK:
		return tidep_pool_fork_start();
	case STEP_DONE:
		break;
	}
	return 0;
}

bool
tidep_pool_is_started(void)
{
	return atomic_load_explicit(&is_started, memory_order_acquire);
}

int
tide_init(void)
{
	int err;

	/* Acquire: pairs with the release below. */
	if (atomic_load_explicit(&is_started, memory_order_acquire))
		return 0;
	if (tidep_pool_is_reentered(NULL, NULL, "an init"))
		return -EDEADLK;
	/* Hidden, so that no fork finds the lock held, and half of what it is for. */
	tidep_pool_hide();
	pthread_mutex_lock(&start_lock);
	err = final_error;
	while (err == 0 && next_step != STEP_DONE) {
		err = do_step(next_step);
		if (err == 0)
			next_step++;
	}
	/* What is malformed stays so; memory may come back. */
	if (err != 0 && err != -ENOMEM)
		final_error = err;
	if (err == 0)
		atomic_store_explicit(&is_started, true, memory_order_release);
	pthread_mutex_unlock(&start_lock);
	tidep_pool_unhide();
	return err;
}

uint32_t
tide_version(void)
{
	return TIDE_VERSION;
}
