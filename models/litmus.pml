/* SPDX-License-Identifier: MIT */
/*
 * litmus.pml - does buffer.pml order what it should, and nothing more?
 *
 * One textbook test at a time, chosen by -D:
 *
 *   SB             x=1; a=y | y=1; b=x          a=b=0 must be reachable
 *   SB_RMW         the stores are exchanges     a=b=0 must not be
 *   SB_BARRIER     plain | y=1; membarrier; b=x a=b=0 must not be
 *   MP             x=1; y=1 (release) | a=y; b=x   a=1, b=0 must not be
 *   MP_RELAXED     y=1 is relaxed               a=1, b=0 must be reachable
 *   OVERTAKE       x=1 (release); y=1           y before x must be reachable
 *   COHERENCE      x=1; x=2 | a=x; b=x          b older than a must not be
 *   OWN            x=1; a=x                     a=0 must not be
 *   LOCKED         both: lock(y); x++; unlock   x=1 at the end must not be
 *   LOCKED_RELAXED y=0 is relaxed               x=1 at the end must be reachable
 */
#define THREADS 2
#define LOCATIONS 2
#include "buffer.pml"

#define X 0
#define Y 1

byte a, b;
bit finished[2];
bit forbidden;

inline add_one(old)
{
	lock(Y);
	load(X, old);
	store(X, old + 1);
#ifdef LOCKED
	unlock(Y)
#else
	store(Y, 0)
#endif
}

proctype first()
{
#if defined(SB) || defined(SB_BARRIER)
	store(X, 1);
	load(Y, a);
#elif defined(SB_RMW)
	exchange(X, 1);
	load(Y, a);
#elif defined(MP)
	store(X, 1);
	store_release(Y, 1);
#elif defined(MP_RELAXED)
	store(X, 1);
	store(Y, 1);
#elif defined(OVERTAKE)
	store_release(X, 1);
	store(Y, 1);
#elif defined(COHERENCE)
	store(X, 1);
	store(X, 2);
#elif defined(OWN)
	store(X, 1);
	load(X, a);
#elif defined(LOCKED) || defined(LOCKED_RELAXED)
	add_one(a);
#else
#error choose a test with -D
#endif
	finished[0] = true
}

proctype second()
{
	byte met;

#if defined(SB)
	store(Y, 1);
	load(X, b);
#elif defined(SB_RMW)
	exchange(Y, 1);
	load(X, b);
#elif defined(SB_BARRIER)
	store(Y, 1);
	membarrier(met);
	load(X, b);
#elif defined(MP) || defined(MP_RELAXED) || defined(OVERTAKE)
	load(Y, a);
	load(X, b);
#elif defined(COHERENCE)
	load(X, a);
	load(X, b);
#elif defined(LOCKED) || defined(LOCKED_RELAXED)
	add_one(b);
#endif
	finished[1] = true
}

init {
	atomic {
		run first();
		run second();
		run memory(0);
		run memory(1)
	};
	finished[0] && finished[1];
#if defined(SB) || defined(SB_RMW) || defined(SB_BARRIER)
	MUST(a || b, forbidden)
#elif defined(COHERENCE)
	MUST(b >= a, forbidden)
#elif defined(OWN)
	MUST(a, forbidden)
#elif defined(LOCKED) || defined(LOCKED_RELAXED)
	DRAINED(0) && DRAINED(1);
	MUST(mem[X] == 2, forbidden)
#else
	MUST(!a || b, forbidden)
#endif
}
