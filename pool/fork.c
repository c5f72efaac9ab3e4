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

#define BUFFERS_DRAIN_NS 10000000 /* a store is seen by then, see wait_for_buffers() */
#define YIELDS           64       /* then sleep: who is waited for may have less priority */
#define TURN_NS          100000

_Atomic uint32_t tidep_pool_attention;

static pthread_mutex_t fork_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t threads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tidep_thread *first_thread; /* threads_lock */
static _Atomic uint32_t strays;           /* hidden threads that are not in the list */
static _Atomic uint32_t stray_hands;      /* threads with something in hand, not in the list */
/* fork_lock: */
static bool is_settled;       /* gates are strong, and all entries from before are over */
static bool others_had_hands; /* as the fork under way began */

/* ---- hidden sections ------------------------------------------------------ */

static uint32_t
depth_of(const struct tidep_thread *thread)
{
	return atomic_load_explicit(&thread->depth, memory_order_relaxed);
}

static void
set(_Atomic uint32_t *word, uint32_t value)
{
	/*
	 * Release: whoever forks, and sees 0, sees all that was done. Without membarrier
	 * it has to be seen before attention is looked at.
	 */
	if (tidep_pool_gate_is_strong())
		atomic_exchange_explicit(word, value, memory_order_seq_cst);
	else
		atomic_store_explicit(word, value, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * In this order: a signal handler that comes between the two finds the table, and
 * nothing begun yet; the other way round its own unhide would show it again.
 */
static void
enter_depth(struct tidep_thread *self, uint32_t depth)
{
	set(&self->depth, depth);
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

	tidep_pool_shield();
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
	tidep_pool_unshield();
}

bool
tidep_pool_is_hidden(void)
{
	return depth_of(&tidep_pool_self) > 0;
}

/* ---- hands ---------------------------------------------------------------- */

static uint32_t
hands_of(const struct tidep_thread *thread)
{
	return atomic_load_explicit(&thread->hands, memory_order_relaxed);
}

/* No fork looks into this thread's hands: count them elsewhere. */
static void
fill_stray_hand(struct tidep_thread *self)
{
	self->has_stray_hand = true;
	atomic_fetch_add_explicit(&stray_hands, 1, memory_order_seq_cst);
}

/* A fork is under way, or this thread is in no list yet: as a slow path would. */
static __attribute__((noinline)) void
fill_hand_slow(struct tidep_thread *self)
{
	tidep_pool_hide();
	set(&self->hands, hands_of(self) + 1);
	if (!self->is_listed && hands_of(self) == 1)
		fill_stray_hand(self);
	tidep_pool_unhide();
}

void
tidep_pool_hand_fill(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	if (self->is_listed) {
		set(&self->hands, hands_of(self) + 1);
		if (!attention_is_wanted())
			return;
		set(&self->hands, hands_of(self) - 1);
	}
	fill_hand_slow(self);
}

void
tidep_pool_hand_empty(void)
{
	struct tidep_thread *self = &tidep_pool_self;
	uint32_t hands = hands_of(self) - 1;

	/* Release: what was done with the object, and its counts, are seen before that. */
	atomic_store_explicit(&self->hands, hands, memory_order_release);
	if (__builtin_expect(hands == 0 && self->has_stray_hand, 0)) {
		self->has_stray_hand = false;
		atomic_fetch_sub_explicit(&stray_hands, 1, memory_order_release);
	}
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

/* Out of the way, so that nobody waits for us, and yet hidden from our own handlers. */
static void
park(struct tidep_thread *self)
{
	if (self->is_stray)
		atomic_fetch_sub_explicit(&strays, 1, memory_order_release);
	atomic_store_explicit(&self->is_parked, true, memory_order_release);
}

/* fork_lock is held: nobody who forks is looking. */
static void
unpark(struct tidep_thread *self)
{
	atomic_store_explicit(&self->is_parked, false, memory_order_relaxed);
	if (self->is_stray)
		atomic_fetch_add_explicit(&strays, 1, memory_order_relaxed);
}

void
tidep_pool_attend(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	while (attention_is_wanted()) {
		park(self);
		pthread_mutex_lock(&fork_lock);
		unpark(self);
		if (atomic_load_explicit(&tidep_pool_attention, memory_order_relaxed) ==
		    TIDEP_ATTENTION_ORPHANS)
			adopt_orphans();
		pthread_mutex_unlock(&fork_lock);
	}
}

/* ---- waiting -------------------------------------------------------------- */

void
tidep_pool_wait_a_turn(unsigned *turns)
{
	const struct timespec turn = { .tv_nsec = TURN_NS };

	if (++*turns <= YIELDS)
		sched_yield();
	else
		nanosleep(&turn, NULL);
}

/*
 * With no membarrier from now on, but up to now: threads that have hidden, or entered
 * a gate, without a fence. Nothing tells when their stores are seen, but it is a matter
 * of nanoseconds.
 */
static void
wait_for_buffers(void)
{
	const struct timespec pause = { .tv_nsec = BUFFERS_DRAIN_NS };

	nanosleep(&pause, NULL);
}

static bool
somebody_is_hidden(void)
{
	const struct tidep_thread *thread;

	pthread_mutex_lock(&threads_lock);
	/* Acquire: pairs with the release of unhide, or park. */
	for (thread = first_thread; thread != NULL; thread = thread->next)
		if (thread != &tidep_pool_self &&
		    atomic_load_explicit(&thread->depth, memory_order_acquire) != 0 &&
		    !atomic_load_explicit(&thread->is_parked, memory_order_acquire))
			break;
	pthread_mutex_unlock(&threads_lock);
	return thread != NULL || atomic_load_explicit(&strays, memory_order_seq_cst) != 0;
}

static void
wait_for_slow_paths(void)
{
	unsigned turns = 0;

	/* The barrier is registered for by the first call, which may be under way. */
	if (!tidep_pool_is_started())
		tidep_pool_gate_start();
	if (!tidep_pool_gate_barrier() && !is_settled)
		wait_for_buffers();
	while (somebody_is_hidden())
		tidep_pool_wait_a_turn(&turns);
}

/* No slow path is under way. */
static void
wait_for_caches_locked(void)
{
	tidep_pool_caches_stop_locked();
	if (tidep_pool_gate_is_strong() && !is_settled) {
		wait_for_buffers();
		is_settled = true;
	}
	tidep_pool_caches_wait_locked();
}

/* threads_lock is held, and no hand is filled now. */
static bool
others_have_hands(void)
{
	const struct tidep_thread *self = &tidep_pool_self;
	uint32_t own = self->has_stray_hand ? 1 : 0;

	for (const struct tidep_thread *thread = first_thread; thread; thread = thread->next)
		if (thread != self &&
		    atomic_load_explicit(&thread->hands, memory_order_acquire) != 0)
			return true;
	return atomic_load_explicit(&stray_hands, memory_order_acquire) > own;
}

/* ---- fork ----------------------------------------------------------------- */

static void
prepare(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	/*
	 * Out of a signal handler that interrupted us: this child may only exec. Waiting
	 * is not for us, as somebody else who forks may be waiting for us.
	 */
	if (tidep_pool_is_hidden() || tidep_pool_is_inside()) {
		self->unprepared++;
		return;
	}
	tidep_pool_shield();
	park(self);
	enter_depth(self, 1);
	pthread_mutex_lock(&fork_lock);
	unpark(self);
	if (atomic_load_explicit(&tidep_pool_attention, memory_order_relaxed) != 0)
		adopt_orphans();
	atomic_store_explicit(&tidep_pool_attention, TIDEP_ATTENTION_FORK, memory_order_seq_cst);
	wait_for_slow_paths();
	/* Nobody holds a lock now, but for a thread that is about to be listed. */
	tidep_pool_registry_lock();
	wait_for_caches_locked();
	pthread_mutex_lock(&threads_lock);
	others_had_hands = others_have_hands();
}

/* Lets go of all that prepare() took. */
static void
resume(uint32_t attention)
{
	struct tidep_thread *self = &tidep_pool_self;

	pthread_mutex_unlock(&threads_lock);
	tidep_pool_registry_unlock();
	atomic_store_explicit(&tidep_pool_attention, attention, memory_order_release);
	pthread_mutex_unlock(&fork_lock);
	/* Only now: a signal handler of ours might want that lock. */
	atomic_signal_fence(memory_order_seq_cst);
	self->shown = self->own;
	atomic_store_explicit(&self->depth, 0, memory_order_release);
	tidep_pool_unshield();
}

static bool
was_prepared(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	if (self->unprepared == 0)
		return true;
	self->unprepared--;
	return false;
}

static void
go_on_in_parent(void)
{
	if (!was_prepared())
		return;
	tidep_pool_caches_go_on_locked();
	resume(0);
}

static void
go_on_in_child(void)
{
	struct tidep_thread *self = &tidep_pool_self;

	if (!was_prepared())
		return;
	first_thread = self->is_listed ? self : NULL;
	self->next = self->prev = NULL;
	atomic_store_explicit(&strays, 0, memory_order_relaxed);
	atomic_store_explicit(&stray_hands, self->has_stray_hand ? 1 : 0, memory_order_relaxed);
	tidep_pool_caches_orphan_locked();
	if (others_had_hands)
		for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL;
		     pool = pool->next)
			tidep_pool_rescue_locked(pool);
	resume(TIDEP_ATTENTION_ORPHANS);
}

static bool is_registered;

int
tidep_pool_fork_start(void)
{
	if (!is_registered && pthread_atfork(prepare, go_on_in_parent, go_on_in_child) != 0)
		return -ENOMEM;
	is_registered = true;
	return 0;
}

/* If there is no memory, the first call tries again, and says so. */
__attribute__((constructor)) static void
register_early(void)
{
	(void)tidep_pool_fork_start();
}
