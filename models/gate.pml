/* SPDX-License-Identifier: MIT */
/*
 * gate.pml - the cache gate: owner and collector are never both inside.
 *
 * One cache, its owner, and two collectors that exclude each other by the
 * registry lock. The labels are those of pool/gate.[ch]:
 *
 *   GATE_ENTER         owner: busy = 1, relaxed
 *   GATE_LOOK          owner: load the flag, acquire; set: leave
 *   GATE_LEAVE         owner: busy = 0, release
 *   GATE_STRONG_ENTER  owner, having seen the strong bit: exchange busy, seq_cst
 *   GATE_ACK           owner: acked = 1, release
 *   GATE_STRONG_LOOK   owner: load the flag, seq_cst; raised: leave
 *   GATE_RAISE         collector: the flag's raised bit; a plain store is enough
 *                      in weak mode, an atomic or (seq_cst) is needed in strong
 *   GATE_BARRIER       collector: one membarrier; weak mode only
 *   GATE_STRENGTHEN    collector: membarrier failed, so the strong bit goes into
 *                      the flag, by an atomic or, for ever
 *   GATE_TAKE_ACKED    collector, strong mode: load acked, acquire; 0: skip
 *   GATE_TAKE          collector: load busy, acquire, in strong mode seq_cst;
 *                      0: empty the cache, else skip it
 *   GATE_LOWER         collector: the raised bit goes out of the flag, release
 *
 * Weak mode is the normal one: the owner pays no atomic, the collector a
 * membarrier. With -DSWITCH membarrier may fail at any collection, and from
 * then on the gate is strong: an exchange and an atomic or order what the
 * membarrier did. An owner may be inside by a plain store when that happens; so
 * nobody takes its cache before it has acknowledged. The inline fast path does
 * not know the mode: in strong mode it enters weakly, sees the flag and leaves,
 * and the slow path enters again by an exchange. With -DSTRONG_START the cache
 * is born in strong mode, and acknowledged.
 *
 * The owner also flushes its cache (and empties it at its exit) without the
 * gate, under the registry lock, which keeps collectors away.
 *
 * The content is one magazine of two objects: a count and two entries. Each
 * object's true place is kept beside the modelled memory (where[]), so a get
 * or a take that sees an old count or an old entry is found at once.
 *
 * Checked, for any number of rounds of each thread:
 *   both_inside   owner and collector use the content at the same time
 *   torn          somebody inside sees a count that is not the latest one
 *   doubled       somebody inside gets an object that is not in the cache
 *   lost          who empties the cache leaves an object behind
 *   invalid end   somebody waits for ever. The owner may go to sleep for good at
 *                 the gate and inside, and the collectors must still come round:
 *                 they wait for each other only.
 *
 * Memory is buffer.pml's: stores are late and out of order, loads in order. The
 * loads that need acquire have mutants that do the content's loads before them
 * (TAKE_RELAXED, LOOK_RELAXED); the release has one that stores late
 * (LEAVE_RELAXED) and one that loads late (LEAVE_LATE_LOAD): this is load->load
 * and load->store reordering where it can matter. (GATE_ACK's release is needed
 * where an exchange is two instructions and a later store can pass the second;
 * here it is one, and only an acknowledgement before it, ACK_EARLY, fails.)
 *
 * Not modelled: signal handlers (busy found set is a test of the owner's own
 * word), fork, threads that take over a dead one's record (the registry lock
 * orders that), several caches (they share nothing but the lock, the barrier
 * and the mode).
 */
#define THREADS 3
#define LOCATIONS 7
#include "buffer.pml"

#define LOCK 0
#define FLAG 1
#define BUSY 2
#define ACKED 3
#define COUNT 4
#define ENTRY(i) (5 + (i))

/* The flag word. */
#define RAISED 1
#define STRONG 2

/* Where an object really is. Object 0 is what an emptied entry names. */
#define NOWHERE 0
#define IN_CACHE 1
#define IN_HAND 2
#define IN_DEPOT 3
byte where[3];
#define CACHED ((where[1] == IN_CACHE) + (where[2] == IN_CACHE))

#define SLOW 1
#define TAKEN 2
#define SKIPPED 3
#define STRONG_USED 4
#define STRONG_TAKEN 5
#define NOT_ACKED 6
#define SLEPT 7
#define FLUSHED 8

bit strong; /* under LOCK */
bit owner_inside, collector_inside;
bit both_inside, torn, doubled, lost;

inline come_inside(mine)
{
	mine = true;
	MUST(!owner_inside || !collector_inside, both_inside)
}

/* ---- emptying ----------------------------------------------------------- */

inline look_at_magazine()
{
	load(COUNT, n);
	load(ENTRY(0), o);
	load(ENTRY(1), o1)
}

/* The magazine goes elsewhere and is overwritten; an empty one takes its place. */
inline empty_cache()
{
	d_step {
		MUST(n == CACHED, torn);
		if
		:: n > 0 -> MUST(where[o] == IN_CACHE, doubled); where[o] = IN_DEPOT
		:: else
		fi;
		if
		:: n > 1 -> MUST(where[o1] == IN_CACHE, doubled); where[o1] = IN_DEPOT
		:: else
		fi;
		MUST(CACHED == 0, lost)
	};
	store(COUNT, 0);
	store(ENTRY(0), 0);
	store(ENTRY(1), 0)
}

/* ---- the owner ---------------------------------------------------------- */

inline sleep_for_ever()
{
	if
	:: true -> goto asleep
	:: true
	fi
}

inline look_at_content()
{
	load(COUNT, n);
	if
	:: n > 0 -> load(ENTRY(n - 1), o)
	:: else
	fi
}

/* What a look too early had seen. */
inline forget_content()
{
	n = 0;
	o = 0
}

inline got()
{
	d_step {
		MUST(where[o] == IN_CACHE, doubled);
		where[o] = IN_HAND;
		o = 0
	}
}

inline use_content()
{
#if defined(LOOK_RELAXED)
	/* seen before the flag was */
#elif defined(LEAVE_LATE_LOAD)
	load(COUNT, n);
#else
	look_at_content();
#endif
	d_step { MUST(n == CACHED, torn) };
	if
	:: n > 0 ->
		store(COUNT, n - 1);
#ifndef LEAVE_LATE_LOAD
		got();
		n = 0
#endif
	:: where[1] == IN_HAND || where[2] == IN_HAND ->
		o = (where[1] == IN_HAND -> 1 : 2);
		store(ENTRY(n), o);
		store(COUNT, n + 1);
		where[o] = IN_CACHE;
		o = 0;
		n = 0
	:: n = 0
	fi
}

inline leave()
{
	owner_inside = false;
	/* [GATE_LEAVE] */
#ifdef LEAVE_RELAXED
	store(BUSY, 0);
#else
	store_release(BUSY, 0);
#endif
#ifdef LEAVE_LATE_LOAD
	if
	:: n > 0 -> load(ENTRY(n - 1), o); got(); n = 0
	:: else
	fi
#endif
}

inline get_round_the_cache()
{
	EVENT(SLOW);
	if
	:: atomic { where[1] == IN_DEPOT -> where[1] = IN_HAND }
	:: atomic { where[2] == IN_DEPOT -> where[2] = IN_HAND }
	:: true
	fi
}

inline flush()
{
#ifndef FLUSH_UNLOCKED
	lock(LOCK);
#endif
	come_inside(owner_inside);
	look_at_magazine();
	empty_cache();
	EVENT(FLUSHED);
	d_step { owner_inside = false; n = 0; o = 0; o1 = 0 };
#ifndef FLUSH_UNLOCKED
	unlock(LOCK)
#endif
}

proctype owner()
{
	byte flag, n, o, o1;

end:	do
	:: flush()
	:: true ->
#ifdef LOOK_FIRST
		load(FLAG, flag);
#endif
		/* [GATE_ENTER] */
		store(BUSY, 1);
		sleep_for_ever();
#ifdef LOOK_RELAXED
		look_at_content();
#endif
		atomic {
			/* [GATE_LOOK] */
#ifndef LOOK_FIRST
			load(FLAG, flag);
#endif
			if
			:: flag == 0 -> come_inside(owner_inside)
			:: else
			fi
		};
		if
		:: flag == 0 ->
			sleep_for_ever();
			use_content();
			leave()
		:: else ->
			load(FLAG, flag);
			forget_content();
			leave();
			if
			:: flag & STRONG -> goto strong_mode
			:: else -> get_round_the_cache()
			fi
		fi;
next:		flag = 0
	od;

strong_mode:
#ifdef ACK_EARLY
	store(ACKED, 1);
#endif
	/* [GATE_STRONG_ENTER] */
#ifdef ENTER_PLAIN
	store(BUSY, 1);
#else
	exchange(BUSY, 1);
#endif
	sleep_for_ever();
	/* [GATE_ACK] */
	store_release(ACKED, 1);
#ifdef LOOK_RELAXED
	look_at_content();
#endif
	atomic {
		/* [GATE_STRONG_LOOK] */
		load(FLAG, flag);
		if
		:: flag == STRONG -> come_inside(owner_inside)
		:: else
		fi
	};
	if
	:: flag == STRONG ->
		EVENT(STRONG_USED);
		sleep_for_ever();
		use_content();
		leave()
	:: else ->
		forget_content();
		leave();
		get_round_the_cache()
	fi;
	goto next;

asleep:	EVENT(SLEPT);
end_asleep:
	false
}

/* ---- the collectors ----------------------------------------------------- */

inline raise()
{
	/* [GATE_RAISE] */
	if
#ifdef RAISE_PLAIN
	:: strong -> store(FLAG, STRONG | RAISED)
#else
	:: strong -> exchange(FLAG, STRONG | RAISED)
#endif
	:: else -> store(FLAG, RAISED)
	fi
}

inline barrier()
{
	if
	:: strong
	/* [GATE_BARRIER] */
	:: !strong ->
#if defined(BARRIER_REMOVED)
		skip
#elif defined(BARRIER_OWN_ONLY)
		DRAINED(me)
#else
		membarrier(met)
#endif
#ifdef SWITCH
	/* [GATE_STRENGTHEN] */
	:: !strong ->
		atomic { DRAINED(me) -> mem[FLAG] = mem[FLAG] | STRONG; strong = true }
#endif
	fi
}

inline lower()
{
	collector_inside = false;
	/* [GATE_LOWER] */
#if defined(LOWER_RELAXED)
	store(FLAG, (strong -> STRONG : 0))
#elif defined(LOWER_FORGETS)
	store_release(FLAG, 0)
#else
	store_release(FLAG, (strong -> STRONG : 0))
#endif
}

proctype collector()
{
	byte met, n, o, o1;
	byte busy, acked;

end:	do
	:: true ->
#ifndef LOCK_REMOVED
		lock(LOCK);
#endif
#ifdef RAISE_LATE
		barrier();
		raise();
#else
		raise();
		barrier();
#endif
		acked = 1;
#ifndef ACK_IGNORED
		/* [GATE_TAKE_ACKED] */
		if
		:: strong -> load(ACKED, acked)
		:: else
		fi;
#endif
#ifdef TAKE_RELAXED
		look_at_magazine();
#endif
#ifdef TAKE_WAITS
		mem[BUSY] == 0;
#endif
#ifdef LOWER_EARLY
		store_release(FLAG, (strong -> STRONG : 0));
#endif
		atomic {
			/* [GATE_TAKE] */
			load(BUSY, busy);
#ifdef BUSY_IGNORED
			busy = 0;
#endif
			if
			:: acked && !busy -> come_inside(collector_inside)
			:: else
			fi
		};
		if
		:: acked && !busy ->
#ifndef TAKE_RELAXED
			look_at_magazine();
#endif
			EVENT((n > 0 -> (strong -> STRONG_TAKEN : TAKEN) : 255));
			empty_cache()
		:: !acked -> EVENT(NOT_ACKED)
		:: acked && busy -> EVENT(SKIPPED)
		fi;
		lower();
		d_step { busy = 0; acked = 0; n = 0; o = 0; o1 = 0 };
#ifndef LOCK_REMOVED
		unlock(LOCK)
#endif
	od
}

init {
	atomic {
#ifdef STRONG_START
		strong = true;
		mem[FLAG] = STRONG;
		mem[ACKED] = 1;
#endif
		where[1] = IN_CACHE;
		where[2] = IN_HAND;
		mem[COUNT] = 1;
		mem[ENTRY(0)] = 1;
		run owner();
		run collector();
		run collector();
		run memory(0);
		run memory(1);
		run memory(2)
	}
}
