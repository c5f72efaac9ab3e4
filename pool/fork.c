/* SPDX-License-Identifier: MIT */
/*
 * Hidden sections, the list of threads that may be in one, and what fork() does
 * with both.
 */
#include "config.h"

#include "pool/fork.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "pool/misuse.h"
#include "pool/thread.h"

#define BUFFERS_DRAIN_NS 10000000 /* a store is seen by then, see wait_for_slow_paths() */

_Atomic uint32_t tidep_pool_attention;

static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tidep_thread *first_thread; /* threads_lock */
static _Atomic uint32_t strays;           /* hidden threads that are not in the list */
static __thread bool is_unprepared;       /* it forks out of a hidden section of its own */

/* ---- hidden sections ------------------------------------------------------ */

static uint32_t
depth_of(const struct tidep_thread *thread)
{
	return atomic_load_explicit(&thread->depth, memory_order_relaxed);
}

static void
set_depth(struct tidep_thread *self, uint32_t depth)
{
	/*
	 * Release: whoever forks, and sees 0, sees all that was done. Without membarrier
	 * it has to be seen before attention is looked at.
	 */
	if (tidep_pool_gate_is_strong())
		atomic_exchange_explicit(&self->depth, depth, memory_order_seq_cst);
	else
		atomic_store_explicit(&self->depth, depth, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * In this order: a signal handler that comes between the two finds the table, and
 * nothing begun yet; the other way round its own unhide would show it again.
 */
static void
enter_depth(struct tidep_thread *self, uint32_t depth)
{
	set_depth(self, depth);
	self->shown = &tidep_pool_no_table;
	atomic_signal_fence(memory_order_seq_cst);
}

static bool
attention_is_wanted(void)
{
	/* Acquire: pairs with the release of resume() and adopt_orphans(). */
	return __builtin_expect(
		atomic_load_explicit(&tidep_pool_attention, memory_order_seq_cst) != 0, 0);
}

/* Puts the thread into the list, from which its exit hook takes it; or else it is a stray. */
static void
list_self(struct tidep_thread *self)
{
	if (self->exited || !tidep_pool_thread_will_exit()) {
		atomic_fetch_add_explicit(&strays, 1, memory_order_seq_cst);
		self->is_stray = true;
		return;
	}
	pthread_mutex_lock(&threads_lock);
	self->prev = NULL;
	self->next = first_thread;
	if (self->next != NULL)
		self->next->prev = self;
	first_thread = self;
	self->is_listed = true;
	pthread_mutex_unlock(&threads_lock);
}

void
tidep_pool_thread_unlist(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	if (!self->is_listed)
		return;
	pthread_mutex_lock(&threads_lock);
	if (self->prev != NULL)
		self->prev->next = self->next;
	else
		first_thread = self->next;
	if (self->next != NULL)
		self->next->prev = self->prev;
	self->is_listed = false;
	pthread_mutex_unlock(&threads_lock);
}

void
tidep_pool_hide(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	uint32_t depth = depth_of(self) + 1;

	enter_depth(self, depth);
	if (depth > 1)
		return;
	if (__builtin_expect(!self->is_listed, 0))
		list_self(self);
	if (attention_is_wanted())
		tidep_pool_attend();
}

void
tidep_pool_unhide(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	uint32_t depth = depth_of(self) - 1;

	atomic_signal_fence(memory_order_seq_cst);
	if (depth == 0) {
		if (self->is_stray) {
			self->is_stray = false;
			atomic_fetch_sub_explicit(&strays, 1, memory_order_release);
		}
		self->shown = self->own;
	}
	atomic_store_explicit(&self->depth, depth, memory_order_release);
}

bool
tidep_pool_is_hidden(void)
{
	return depth_of(&tidep_pool_self) > 0;
}

/* ---- orphans -------------------------------------------------------------- */

static void
adopt_orphans(void)
{
	tidep_pool_gate_start(); /* what a child inherits of membarrier is the kernel's affair */
	tidep_pool_registry_lock();
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next)
		tidep_pool_caches_adopt_locked(pool);
	tidep_pool_registry_unlock();
	atomic_store_explicit(&tidep_pool_attention, 0, memory_order_release);
}

/* Nobody waits for us while we wait: hidden again only with the lock. */
static void
wait_for_fork_lock(struct tidep_thread *self)
{
	bool was_stray = self->is_stray;

	for (;;) {
		if (was_stray)
			atomic_fetch_sub_explicit(&strays, 1, memory_order_release);
		set_depth(self, 0);
		sched_yield();
		/* In this order, for a signal handler that comes with the lock taken. */
		enter_depth(self, 1);
		if (was_stray)
			atomic_fetch_add_explicit(&strays, 1, memory_order_seq_cst);
		if (pthread_mutex_trylock(&fork_lock) == 0)
			return;
	}
}

void
tidep_pool_attend(void)
{
	while (attention_is_wanted()) {
		wait_for_fork_lock(&tidep_pool_self);
		if (atomic_load_explicit(&tidep_pool_attention, memory_order_relaxed) ==
		    TIDEP_ATTENTION_ORPHANS)
			adopt_orphans();
		pthread_mutex_unlock(&fork_lock);
	}
}

/* ---- fork ----------------------------------------------------------------- */

static bool
somebody_is_hidden(void)
{
	const struct tidep_thread *thread;

	pthread_mutex_lock(&threads_lock);
	for (thread = first_thread; thread != NULL; thread = thread->next)
		if (thread != &tidep_pool_self &&
		    atomic_load_explicit(&thread->depth, memory_order_acquire) != 0)
			break;
	pthread_mutex_unlock(&threads_lock);
	return thread != NULL || atomic_load_explicit(&strays, memory_order_seq_cst) != 0;
}

/*
 * With no membarrier from now on, but up to now: threads that have hidden, or come
 * into their cache, without a fence. Nothing tells when their stores are seen, but it
 * is a matter of nanoseconds.
 */
static void
wait_for_buffers(bool was_strong)
{
	const struct timespec pause = { .tv_nsec = BUFFERS_DRAIN_NS };

	if (!was_strong && tidep_pool_gate_is_strong())
		nanosleep(&pause, NULL);
}

static void
wait_for_slow_paths(bool was_strong)
{
	(void)tidep_pool_gate_barrier();
	wait_for_buffers(was_strong);
	while (somebody_is_hidden())
		sched_yield();
}

static void
prepare(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	bool was_strong = tidep_pool_gate_is_strong();

	/* Out of a signal handler that interrupted us: this child may only exec. */
	is_unprepared = tidep_pool_is_hidden();
	if (is_unprepared)
		return;
	tidep_pool_start_lock();
	tidep_pool_misuse_lock();
	pthread_mutex_lock(&fork_lock);
	enter_depth(self, 1);
	if (atomic_load_explicit(&tidep_pool_attention, memory_order_relaxed) != 0)
		adopt_orphans();
	atomic_store_explicit(&tidep_pool_attention, TIDEP_ATTENTION_FORK, memory_order_seq_cst);
	wait_for_slow_paths(was_strong);
	/* Nobody holds a lock now. */
	tidep_pool_registry_lock();
	tidep_pool_caches_stop_locked();
	wait_for_buffers(was_strong);
	tidep_pool_caches_wait_locked();
}

/* Lets go of all that prepare() took. */
static void
resume(uint32_t attention)
{
	struct tidep_thread *self = &tidep_pool_self;

	tidep_pool_registry_unlock();
	atomic_store_explicit(&tidep_pool_attention, attention, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	self->shown = self->own;
	atomic_store_explicit(&self->depth, 0, memory_order_release);
	pthread_mutex_unlock(&fork_lock);
	tidep_pool_misuse_unlock();
	tidep_pool_start_unlock();
}

static void
go_on_in_parent(void)
{
	if (is_unprepared)
		return;
	tidep_pool_caches_go_on_locked();
	resume(0);
}

static void
go_on_in_child(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	uint32_t hands = 0;

	if (is_unprepared)
		return;
	/* The other threads' records are still in their stacks' copies. */
	for (struct tidep_thread *thread = first_thread; thread != NULL; thread = thread->next)
		if (thread != self)
			hands += atomic_load_explicit(&thread->hands, memory_order_relaxed);
	first_thread = self->is_listed ? self : NULL;
	self->next = self->prev = NULL;
	atomic_store_explicit(&strays, 0, memory_order_relaxed);
	tidep_pool_caches_orphan_locked();
	/* What we have in hand ourselves, forking in a hook, cannot be told from theirs. */
	if (hands > 0 && atomic_load_explicit(&self->hands, memory_order_relaxed) == 0)
		for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL;
		     pool = pool->next)
			tidep_pool_rescue_locked(pool);
	resume(TIDEP_ATTENTION_ORPHANS);
}

int
tidep_pool_fork_start(void)
{
	return pthread_atfork(prepare, go_on_in_parent, go_on_in_child) == 0 ? 0 : -ENOMEM;
}
