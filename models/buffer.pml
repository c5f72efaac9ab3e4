/* SPDX-License-Identifier: MIT */
/*
 * buffer.pml - memory with explicit store buffers, for the other models.
 *
 * Include it after defining THREADS and LOCATIONS; init runs the threads first,
 * then memory(i) for each of them, so that _pid - 1 is a thread's buffer. Shared
 * words are mem[0 .. LOCATIONS - 1]; use them only through the inlines below,
 * which act for the process that runs them.
 *
 * A store enters its process's buffer and drains to mem[] at any later moment,
 * past other pending stores:
 *
 *   - two stores to one location stay in order (coherence);
 *   - a release store drains after all that its process stored before it; what
 *     is stored after it may overtake it;
 *   - a load sees the process's own newest pending store, else mem[];
 *   - a read-modify-write waits until its process's buffer is empty, then acts
 *     on mem[] at once. This is acq_rel in C; where a load after it must not be
 *     early (strong mode in gate.pml) both must be seq_cst, or ARMv8 may let the
 *     load overtake the write;
 *   - an acquire-only one (a lock, a pop) waits for the stores to its own
 *     location alone: earlier stores may still be pending after it;
 *   - membarrier sees each process's buffer empty, one process after another,
 *     in any order and at different moments: the system call promises no more.
 *
 * So store->load and store->store reorderings are modelled in full. Loads are
 * done in program order and never after a later store has drained, which is
 * what acquire loads and release stores promise; a model whose mutant weakens
 * one of those does the load early (before the acquire) or late (after the
 * release) itself. litmus.pml checks this file.
 *
 * A buffer holds ROOM stores, from 4 to 8; a store waits for room, as in a real
 * machine. Waiting is safe: the first store of a buffer can always drain. Where
 * the threads never have so many pending (NEVER_FULL proves it), ROOM leaves
 * out nothing. A value is a VALUE, a byte unless the model needs more.
 */
#ifndef ROOM
#define ROOM 8
#endif
#ifndef VALUE
#define VALUE byte
#endif

typedef Buffer {
	byte n;
	byte at[ROOM];
	VALUE val[ROOM];
	bit rel[ROOM]
};

Buffer sb[THREADS];
VALUE mem[LOCATIONS];
hidden byte scan; /* means nothing between two steps */

/*
 * The properties. A model says MUST(condition, name): the name of a broken one
 * is what the verifier prints. EVENT marks what the search has to reach: a run
 * with -DREACH=event must stop there, or the model proves less than it seems to.
 */
#ifndef REACH
#define REACH 0
#endif
#define MUST(cond, name) \
	if :: (cond) :: else -> name = true; assert(!name) fi
#define EVENT(event) \
	if :: (event) == REACH -> event_reached = true; assert(!event_reached) :: else fi
bit event_reached;
#ifdef NEVER_FULL
bit buffer_full;
#endif

#define me (_pid - 1)
#define DRAINED(p) (sb[p].n == 0)

inline push(l, v, r)
{
	d_step {
#ifdef NEVER_FULL
		MUST(sb[me].n < ROOM, buffer_full);
#endif
		sb[me].n < ROOM ->
		sb[me].at[sb[me].n] = l;
		sb[me].val[sb[me].n] = v;
		sb[me].rel[sb[me].n] = r;
		sb[me].n++
	}
}

#define store(l, v) push(l, v, 0)
#define store_release(l, v) push(l, v, 1)

inline load(l, out)
{
	d_step {
		out = mem[l];
		scan = 0;
		do
		:: scan < sb[me].n ->
			if
			:: sb[me].at[scan] == (l) -> out = sb[me].val[scan]
			:: else
			fi;
			scan++
		:: else -> break
		od;
		scan = 0
	}
}

/* Other read-modify-writes: atomic { DRAINED(me) -> ... mem[l] ... }. */
inline exchange(l, v)
{
	atomic { DRAINED(me) -> mem[l] = v }
}

/* The same, acquire only: atomic { CLEAR_OF(me, l) -> ... mem[l] ... }. */
#define HOLDS(p, l, i) (i < sb[p].n && sb[p].at[(i) % ROOM] == (l))
#define CLEAR_OF(p, l) \
	(!HOLDS(p, l, 0) && !HOLDS(p, l, 1) && !HOLDS(p, l, 2) && !HOLDS(p, l, 3) && \
	 !HOLDS(p, l, 4) && !HOLDS(p, l, 5) && !HOLDS(p, l, 6) && !HOLDS(p, l, 7))

inline lock(l)
{
	atomic { CLEAR_OF(me, l) && mem[l] == 0 -> mem[l] = 1 }
}

inline unlock(l)
{
	store_release(l, 0)
}

/* met: a byte of the caller's, one bit a process whose buffer was seen empty. */
#define BARRIER_MEETS(p) (!(met & (1 << (p))) && DRAINED(p))

inline membarrier(met)
{
	atomic { DRAINED(me) -> met = 1 << me };
	do
	:: atomic { BARRIER_MEETS(0) -> met = met | 1 }
	:: atomic { BARRIER_MEETS(1) -> met = met | 2 }
#if THREADS > 2
	:: atomic { BARRIER_MEETS(2) -> met = met | 4 }
#endif
	:: met == (1 << THREADS) - 1 -> break
	od;
	met = 0
}

/* May entry i drain? It waits for j if that is the same location, or if i releases. */
#define AFTER(p, i, j) \
	(j < i && (sb[p].rel[(i) % ROOM] || sb[p].at[(i) % ROOM] == sb[p].at[(j) % ROOM]))
#define READY(p, i) \
	(i < sb[p].n && !AFTER(p, i, 0) && !AFTER(p, i, 1) && !AFTER(p, i, 2) && \
	 !AFTER(p, i, 3) && !AFTER(p, i, 4) && !AFTER(p, i, 5) && !AFTER(p, i, 6))

proctype memory(byte p)
{
	byte i;

end:	do
	:: atomic {
		if
		:: READY(p, 0) -> i = 0
		:: READY(p, 1) -> i = 1
		:: READY(p, 2) -> i = 2
		:: READY(p, 3) -> i = 3
		:: READY(p, 4) -> i = 4
		:: READY(p, 5) -> i = 5
		:: READY(p, 6) -> i = 6
		:: READY(p, 7) -> i = 7
		fi;
		d_step {
			mem[sb[p].at[i]] = sb[p].val[i];
			sb[p].n--;
			do
			:: i < sb[p].n ->
				sb[p].at[i] = sb[p].at[i + 1];
				sb[p].val[i] = sb[p].val[i + 1];
				sb[p].rel[i] = sb[p].rel[i + 1];
				i++
			:: else -> break
			od;
			sb[p].at[i] = 0;
			sb[p].val[i] = 0;
			sb[p].rel[i] = 0;
			i = 0
		}
	}
	od
}
