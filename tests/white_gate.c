/* SPDX-License-Identifier: MIT */
/*
 * pool/gate: an owner and a collector are never both inside, with membarrier,
 * without it, and when it starts failing half-way (a filter refuses the call
 * as a container's might).
 */
#include "config.h"

#include "pool/gate.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#include "forbid.h"
#include "rooms.h"

static bool
has_membarrier(void)
{
	long commands = syscall(__NR_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	return commands > 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0;
}

/* In by a door and out again as the fast path does, counting; was it let in? */
static bool
try_door(struct tidep_gate *gate, tidep_gate_door *door)
{
	bool is_in = tidep_pool_gate_enter_weak(gate, door);

	ck_assert(tidep_pool_gate_is_inside(gate) == is_in);
	if (is_in)
		tidep_pool_gate_leave(door, 1);
	ck_assert(!tidep_pool_gate_is_inside(gate));
	return is_in;
}

START_TEST(the_owner_goes_in_and_out)
{
	struct tidep_gate gate;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	for (int i = 0; i < 3; i++) {
		ck_assert(!tidep_pool_gate_is_inside(&gate));
		ck_assert(tidep_pool_gate_enter(&gate));
		ck_assert(tidep_pool_gate_is_inside(&gate));
		tidep_pool_gate_leave_slow(&gate);
	}
	ck_assert(!tidep_pool_gate_is_inside(&gate));
}
END_TEST

START_TEST(a_raised_gate_turns_the_owner_away)
{
	struct tidep_gate gate;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	tidep_pool_gate_raise(&gate);
	if (!tidep_pool_gate_barrier())
		tidep_pool_gate_make_strong(&gate);
	ck_assert(!tidep_pool_gate_enter(&gate));
	ck_assert(!tidep_pool_gate_is_inside(&gate));
	ck_assert(tidep_pool_gate_try_take(&gate));
	tidep_pool_gate_lower(&gate);
	ck_assert(tidep_pool_gate_enter(&gate));
	tidep_pool_gate_leave_slow(&gate);
}
END_TEST

/* Raises, tries, lowers. */
static bool
take_and_lower(struct tidep_gate *gate)
{
	bool is_taken;

	tidep_pool_gate_raise(gate);
	if (!tidep_pool_gate_barrier())
		tidep_pool_gate_make_strong(gate);
	is_taken = tidep_pool_gate_try_take(gate);
	tidep_pool_gate_lower(gate);
	return is_taken;
}

START_TEST(a_gate_with_its_owner_inside_is_not_taken)
{
	struct tidep_gate gate;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	ck_assert(tidep_pool_gate_enter(&gate));
	ck_assert(!take_and_lower(&gate));
	tidep_pool_gate_leave_slow(&gate);
	ck_assert(take_and_lower(&gate));
	/* By either door. */
	for (int i = 0; i < 2; i++) {
		tidep_gate_door *door = i == 0 ? &gate.gets : &gate.puts;

		if (!tidep_pool_gate_enter_weak(&gate, door))
			continue;
		ck_assert(!take_and_lower(&gate));
		/* A signal handler is refused at both, and changes nothing. */
		ck_assert(!tidep_pool_gate_enter_weak(&gate, &gate.gets));
		ck_assert(!tidep_pool_gate_enter_weak(&gate, &gate.puts));
		ck_assert(tidep_pool_gate_is_inside(&gate));
		tidep_pool_gate_leave(door, 0);
		ck_assert(!tidep_pool_gate_is_inside(&gate));
	}
	ck_assert(take_and_lower(&gate));
	ck_assert_uint_eq(tidep_pool_gate_count(&gate.gets), 0);
	ck_assert_uint_eq(tidep_pool_gate_count(&gate.puts), 0);
}
END_TEST

START_TEST(each_door_counts_what_was_done)
{
	struct tidep_gate gate;
	uint64_t gets = 0;
	uint64_t puts = 0;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	for (int i = 0; i < 100; i++) {
		gets += try_door(&gate, &gate.gets);
		if (i % 3 == 0)
			puts += try_door(&gate, &gate.puts);
		/* The slow way counts elsewhere. */
		if (tidep_pool_gate_enter(&gate))
			tidep_pool_gate_leave_slow(&gate);
		if (i == 50)
			take_and_lower(&gate);
	}
	ck_assert_uint_eq(tidep_pool_gate_count(&gate.gets), gets);
	ck_assert_uint_eq(tidep_pool_gate_count(&gate.puts), puts);
	if (!tidep_pool_gate_is_strong())
		ck_assert_uint_eq(gets, 100);
}
END_TEST

START_TEST(with_membarrier_gates_are_weak)
{
	struct tidep_gate gate;

	if (!has_membarrier()) {
		puts("with_membarrier_gates_are_weak: skipped, there is none");
		return;
	}
	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	ck_assert(!tidep_pool_gate_is_strong());
	ck_assert(try_door(&gate, &gate.gets));
	ck_assert(try_door(&gate, &gate.puts));
	ck_assert(tidep_pool_gate_barrier());
}
END_TEST

START_TEST(without_membarrier_gates_are_strong_from_the_start)
{
	struct tidep_gate gate;

	if (!forbid_membarrier(ENOSYS)) {
		puts("without_membarrier_...: skipped, no filter can be set");
		return;
	}
	tidep_pool_gate_start();
	ck_assert(tidep_pool_gate_is_strong());
	tidep_pool_gate_init(&gate);
	/* The fast path never gets in, the slow one does, and is as good as acked. */
	ck_assert(!try_door(&gate, &gate.gets));
	ck_assert(!try_door(&gate, &gate.puts));
	ck_assert(tidep_pool_gate_enter(&gate));
	tidep_pool_gate_leave_slow(&gate);
	tidep_pool_gate_raise(&gate);
	ck_assert(!tidep_pool_gate_barrier());
	ck_assert(!tidep_pool_gate_enter(&gate));
	ck_assert(tidep_pool_gate_try_take(&gate));
	tidep_pool_gate_lower(&gate);
	/* Lowered, but strong for ever. */
	ck_assert(!try_door(&gate, &gate.gets));
	ck_assert(!try_door(&gate, &gate.puts));
}
END_TEST

START_TEST(when_membarrier_starts_failing_a_gate_waits_for_its_owner)
{
	struct tidep_gate gate;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&gate);
	if (tidep_pool_gate_is_strong() || !forbid_membarrier(ENOSYS)) {
		puts("when_membarrier_...: skipped, no membarrier or no filter");
		return;
	}
	tidep_pool_gate_raise(&gate);
	ck_assert(!tidep_pool_gate_barrier());
	ck_assert(tidep_pool_gate_is_strong());
	tidep_pool_gate_make_strong(&gate);
	/* The owner may be inside and its busy = 1 not visible yet. */
	ck_assert(!tidep_pool_gate_try_take(&gate));
	tidep_pool_gate_lower(&gate);
	/* It has been seen to go the strong way, if only to be turned away. */
	ck_assert(tidep_pool_gate_enter(&gate));
	tidep_pool_gate_leave_slow(&gate);
	tidep_pool_gate_raise(&gate);
	ck_assert(tidep_pool_gate_try_take(&gate));
	tidep_pool_gate_lower(&gate);
}
END_TEST

/* ---- two threads -------------------------------------------------------------- */

static struct shared {
	struct tidep_gate gate;
	_Atomic bool stop;
	_Atomic uint64_t entries; /* of the owner, so that the collector does not run alone */
	_Atomic unsigned inside;  /* how many there are, as a check of the check */
	/* What the gate guards, so without a lock or an atomic: */
	uint64_t content[4];
} shared;

static void
work_inside(uint64_t *done)
{
	unsigned others = atomic_fetch_add_explicit(&shared.inside, 1, memory_order_relaxed);

	if (others != 0)
		ck_abort_msg("both are inside");
	for (int i = 1; i < 4; i++)
		if (shared.content[i] != shared.content[0])
			ck_abort_msg("one does not see all of the other's work");
	for (int i = 0; i < 4; i++)
		shared.content[i]++;
	atomic_fetch_sub_explicit(&shared.inside, 1, memory_order_relaxed);
	++*done;
}

/* As the fast path: by a door, or not at all. */
static bool
work_behind(tidep_gate_door *door, uint64_t *done)
{
	if (!tidep_pool_gate_enter_weak(&shared.gate, door))
		return false;
	work_inside(done);
	tidep_pool_gate_leave(door, 1);
	return true;
}

static void
work_slowly(uint64_t *done)
{
	if (!tidep_pool_gate_enter(&shared.gate))
		return;
	work_inside(done);
	tidep_pool_gate_leave_slow(&shared.gate);
}

static void *
be_owner(void *arg)
{
	uint64_t *entries = arg;
	unsigned spin = 0;

	while (!atomic_load_explicit(&shared.stop, memory_order_relaxed)) {
		if (++spin % 3 == 0 ||
		    !work_behind(spin % 3 == 1 ? &shared.gate.gets : &shared.gate.puts, entries))
			work_slowly(entries);
		atomic_store_explicit(&shared.entries, *entries, memory_order_relaxed);
		if (spin % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* As a collector does with many gates, until both have been in so often; returns its own. */
static uint64_t
collect(unsigned rounds, unsigned refuse_at)
{
	uint64_t taken = 0;

	for (unsigned i = 0;
	     taken < rounds || atomic_load_explicit(&shared.entries, memory_order_relaxed) < rounds;
	     i++) {
		if (i == refuse_at)
			forbid_membarrier(ENOSYS);
		tidep_pool_gate_raise(&shared.gate);
		if (!tidep_pool_gate_barrier())
			tidep_pool_gate_make_strong(&shared.gate);
		if (tidep_pool_gate_try_take(&shared.gate))
			work_inside(&taken);
		tidep_pool_gate_lower(&shared.gate);
		if (i % 16 == 0)
			sched_yield();
	}
	return taken;
}

static void
run_both(unsigned rounds, unsigned refuse_at)
{
	uint64_t entries = 0;
	uint64_t taken;
	pthread_t owner;

	tidep_pool_gate_start();
	tidep_pool_gate_init(&shared.gate);
	ck_assert_int_eq(pthread_create(&owner, NULL, be_owner, &entries), 0);
	taken = collect(rounds, refuse_at);
	atomic_store(&shared.stop, true);
	ck_assert_int_eq(pthread_join(owner, NULL), 0);
	ck_assert_uint_eq(shared.content[0], entries + taken);
	ck_assert_uint_eq(shared.content[3], entries + taken);
}

START_TEST(never_both_inside)
{
	run_both(ROUNDS(40000), UINT32_MAX);
}
END_TEST

START_TEST(never_both_inside_without_membarrier)
{
	if (forbid_membarrier(ENOSYS))
		run_both(ROUNDS(40000), UINT32_MAX);
}
END_TEST

START_TEST(never_both_inside_as_membarrier_starts_failing)
{
	run_both(ROUNDS(40000), ROUNDS(10000));
}
END_TEST

int
main(void)
{
	return run_suite("white_gate",
			 (const TTest *const[]){
				 the_owner_goes_in_and_out,
				 a_raised_gate_turns_the_owner_away,
				 a_gate_with_its_owner_inside_is_not_taken,
				 each_door_counts_what_was_done,
				 with_membarrier_gates_are_weak,
				 without_membarrier_gates_are_strong_from_the_start,
				 when_membarrier_starts_failing_a_gate_waits_for_its_owner,
				 never_both_inside,
				 never_both_inside_without_membarrier,
				 never_both_inside_as_membarrier_starts_failing,
				 NULL,
			 });
}
