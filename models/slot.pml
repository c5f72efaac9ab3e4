/* SPDX-License-Identifier: MIT */
/*
 * slot.pml - the slot word: one owner (B), and stale stays stale (C).
 *
 * One slot and three threads that do the same things in any order, for ever:
 * they get the slot from their magazine, the depot or the bin; they keep its
 * pointer and a ref, pass both on (SHARED), put by either, twice if they like
 * and at the same time, ask whether the ref resolves, and hand the idle slot to
 * the depot or let it go to the bin. The labels are those of arena/slot.h:
 *
 *   SLOT_BIRTH   EMPTY g -> LIVE g       load and store by who claimed the slot
 *   SLOT_ISSUE   IDLE g -> LIVE g        load and store by who holds its magazine
 *   SLOT_PUT     LIVE g -> IDLE g+1      compare-and-swap by whoever has its pointer
 *   SLOT_RETIRE  LIVE last -> RETIRED    the same, for the last generation
 *   SLOT_LETGO   IDLE g -> EMPTY g       load and store by who has it in hand
 *
 * The slot starts as word 0 in the bin, and its first BIRTH takes the slab's
 * floor as generation. There are three generations, then it is retired. The word
 * is generation, pins and state as in C; nothing pins yet, but a put demands
 * that the pins are 0, and looks again when its compare-and-swap fails.
 *
 * A put by pointer can only name a slot; so where the slot was handed out again
 * before the put looked at the word, B promises nothing, and the model's thread
 * drops the pointer. (Put by ref carries the generation and always tries.) A put
 * that had looked before that, and lost, must be refused like any other.
 *
 * The depot is one word: push is a release and pop an acquire compare-and-swap.
 * The bin is one bit under a lock, which stands for both bin.c and slab.c. A
 * magazine is its thread's own here; what a collector takes out of one is
 * gate.pml's business and reaches the depot by a push as here. The object is one
 * byte: the owner finds it 0 and dirties it, the winner of a put resets it.
 *
 * Checked:
 *   two_owners       an object is handed out while it is live, or twice
 *   two_puts         a put succeeds that is not the first one of its own life
 *   wrongly_refused  a put is refused though its life goes on
 *   two_places       someone uses the slot from where it is not
 *   lost             the slot drops out of magazine, depot and bin
 *   wrong_state      a transition starts from a state it must not start from
 *   reused           there are more lives than generations
 *   stale_resolved   a ref resolves after its life has ended
 *   live_unresolved  a ref does not resolve though its life goes on
 *   dirty            an owner finds what an earlier one wrote
 *   invalid end      somebody waits for ever
 *
 * Memory is buffer.pml's. Loads are in order: each one here follows the acquire
 * that gave the thread its right to it, and POP_RELAXED shows a load that does
 * not. The put's acq_rel lets its write be seen later than the reset's stores on
 * LL/SC machines; nobody acts on seeing IDLE, so seeing LIVE for longer only
 * makes a second put lose in its compare-and-swap instead of before it.
 *
 * Not modelled: pins, the slab's release and its floor rising, several slots.
 */
#define THREADS 3
#define LOCATIONS 5
#include "buffer.pml"

#define WORD 0
#define OBJECT 1
#define DEPOT 2
#define BIN 3
#define LOCK 4

/* generation * 16 + pins * 4 + state, in the order of the C word */
#define EMPTY 0
#define IDLE 1
#define LIVE 2
#define RETIRED 3
#define PIN_ONE 4
#define GENERATION_ONE 16
#define STATE(w) ((w) % PIN_ONE)
#define STANDING(w) ((w) % GENERATION_ONE)
#define GENERATION(w) ((w) / GENERATION_ONE)
#define MAKE_WORD(g, s) ((g) * GENERATION_ONE + (s))

#define FLOOR 1
#ifndef LAST
#define LAST 2
#endif
#define LIVES (LAST - FLOOR + 1)

/*
 * The truth, kept beside the modelled memory. Exactly one of the bits is set.
 * A life begins at BIRTH and ISSUE and ends at PUT and RETIRE.
 */
bit in_bin = true;
bit in_depot;
bit in_magazine[THREADS];
bit in_hand[THREADS];
bit is_live;
bit is_retired;
byte life; /* how many there were; the last one if is_live */
byte generation_of[LIVES + 1];
byte passed_on;
#define ENDED(l) (!is_live || life != (l))

bit two_owners, two_puts, wrongly_refused, two_places, lost, wrong_state, reused;
bit stale_resolved, live_unresolved, dirty;

#define REBORN 1
#define REISSUED 2
#define PASSED_ON 3
#define REFUSED_EARLY 4
#define REFUSED_LATE 5
#define STALE_REFUSED 6
#define RACED_REISSUE 7
#define USED_UP 8
#define OUTSIDE_B 9

inline move(from, to)
{
	d_step { MUST(from, two_places); from = false; to = true }
}

/* ---- hand out ----------------------------------------------------------- */

inline begin_life(from)
{
	d_step {
		MUST(from && !is_live, two_owners);
		from = false;
		is_live = true;
		MUST(life < LIVES, reused);
		life++;
		generation_of[life] = GENERATION(word);
		mine = life;
		word = 0
	}
}

/* What an owner does with its object. */
inline use_object()
{
	atomic {
		load(OBJECT, word);
		d_step { MUST(word == 0, dirty); word = 0 };
		store(OBJECT, 1)
	}
}

inline issue_what_was_loaded()
{
	d_step {
		MUST(STANDING(word) == IDLE, wrong_state);
		EVENT(REISSUED);
		word = word + (LIVE - IDLE)
	};
	store(WORD, word);
	begin_life(in_magazine[me])
}

inline issue()
{
	/* [SLOT_ISSUE] */
	atomic { load(WORD, word); issue_what_was_loaded() };
	use_object()
}

inline pop()
{
#ifdef POP_PLAIN
	load(DEPOT, word);
	if
	:: word -> store(DEPOT, 0); move(in_depot, in_magazine[me])
	:: else
	fi;
	word = 0
#else
	atomic {
		CLEAR_OF(me, DEPOT) && mem[DEPOT] ->
		mem[DEPOT] = 0;
		move(in_depot, in_magazine[me])
	}
#endif
}

inline lock_bin()
{
#ifdef LOCK_REMOVED
	skip
#else
	lock(LOCK)
#endif
}

inline unlock_bin()
{
#if defined(LOCK_REMOVED)
	skip
#elif defined(UNLOCK_RELAXED)
	store(LOCK, 0)
#else
	unlock(LOCK)
#endif
}

inline birth()
{
	lock_bin();
	atomic {
		load(BIN, word);
		if
		:: word -> store(BIN, 0); move(in_bin, in_hand[me])
		:: else
		fi;
		unlock_bin()
	};
	if
	:: word ->
		/* [SLOT_BIRTH] */
		atomic {
			load(WORD, word);
			d_step {
				MUST(STANDING(word) == EMPTY, wrong_state);
				EVENT((word -> REBORN : 255));
				word = MAKE_WORD((word -> GENERATION(word) : FLOOR), LIVE)
			};
			store(WORD, word);
			begin_life(in_hand[me])
		};
		use_object()
	:: else
	fi
}

/* ---- take back ---------------------------------------------------------- */

/* What a put makes of a LIVE word. */
#ifdef RETIRE_WRAPS
#define AFTER_LAST(w) MAKE_WORD(FLOOR, IDLE)
#else
#define AFTER_LAST(w) ((w) + (RETIRED - LIVE)) /* [SLOT_RETIRE] */
#endif
#ifdef PUT_KEEPS_GENERATION
#define AFTER_PUT(w) ((w) - (LIVE - IDLE))
#else
#define AFTER_PUT(w) ((w) + GENERATION_ONE - (LIVE - IDLE)) /* [SLOT_PUT] */
#endif
#define AFTER_LIFE(w) (GENERATION(w) == LAST -> AFTER_LAST(w) : AFTER_PUT(w))

/* The winner has the slot in hand and resets the object, or it is used up. */
inline end_life()
{
	d_step {
		MUST(!ENDED(mine), two_puts);
		is_live = false;
		if
		:: STATE(AFTER_LIFE(word)) == RETIRED -> is_retired = true
		:: else -> in_hand[me] = true
		fi
	};
	if
	:: in_hand[me] -> store(OBJECT, 0)
	:: else
	fi
}

/* Load the word; go on only if it may be put. */
inline look()
{
	atomic {
		load(WORD, word);
		if
		:: STANDING(word) != LIVE ->
			refuse((looked -> REFUSED_LATE : REFUSED_EARLY))
		:: STANDING(word) == LIVE && life != mine && !by_ref && !looked ->
			EVENT(OUTSIDE_B);
			mine = 0;
			goto done
#ifndef PUT_REF_BLIND
		:: STANDING(word) == LIVE && by_ref && GENERATION(word) != generation_of[mine] ->
			refuse(STALE_REFUSED)
#endif
#ifndef PUT_RETRIES
		:: STANDING(word) == LIVE && looked && GENERATION(word) != looked ->
			refuse(RACED_REISSUE)
#endif
		:: else
		fi
	}
}

inline refuse(event)
{
	d_step { MUST(ENDED(mine), wrongly_refused); EVENT(event) };
	goto done
}

#if defined(PUT_PLAIN)
inline swap_word()
{
	atomic { end_life(); word = AFTER_LIFE(word); store(WORD, word); won = true }
}
#elif defined(PUT_EXCHANGE)
inline swap_word()
{
	atomic {
		DRAINED(me) ->
		won = STANDING(mem[WORD]) == LIVE;
		mem[WORD] = AFTER_LIFE(word);
		if
		:: won -> end_life()
		:: else -> looked = GENERATION(word)
		fi
	}
}
#else
inline swap_word()
{
	atomic {
		DRAINED(me) ->
		if
		:: mem[WORD] == word -> mem[WORD] = AFTER_LIFE(word); end_life(); won = true
		:: else -> looked = GENERATION(word)
		fi
	}
}
#endif

/* Ends life `mine`. by_ref: the caller gave a ref, so its generation is known. */
inline put()
{
	atomic {
		if
		:: by_ref = true
		:: true
		fi;
		look()
	};
	do
	:: !won ->
		swap_word();
		if
		:: !won -> look()
		:: else
		fi
	:: won -> break
	od;
	if
	:: in_hand[me] -> move(in_hand[me], in_magazine[me])
	:: in_hand[me] -> push_to_depot()
	:: in_hand[me] -> letgo()
	:: !in_hand[me] -> EVENT(USED_UP)
	fi;
	goto done
}

inline push_to_depot()
{
#ifdef PUSH_RELAXED
	atomic { CLEAR_OF(me, DEPOT) -> mem[DEPOT] = 1; move(in_hand[me], in_depot) }
#else
	atomic { DRAINED(me) -> mem[DEPOT] = 1; move(in_hand[me], in_depot) }
#endif
}

inline letgo()
{
	/* [SLOT_LETGO] */
	atomic {
		load(WORD, word);
		d_step {
			MUST(STANDING(word) == IDLE, wrong_state);
#ifdef LETGO_RESETS
			word = MAKE_WORD(FLOOR, EMPTY)
#else
			word = word - (IDLE - EMPTY)
#endif
		};
#ifndef LETGO_LATE
		store(WORD, word);
		word = 0
#endif
	};
	lock_bin();
	atomic { store(BIN, 1); move(in_hand[me], in_bin); unlock_bin() };
#ifdef LETGO_LATE
	store(WORD, word);
	word = 0
#endif
}

/* ---- the threads -------------------------------------------------------- */

proctype thread()
{
	byte mine;   /* the life whose pointer and ref we keep, long after its end perhaps */
	byte word;   /* as loaded */
	byte looked; /* a put lost: the generation it had looked at */
	bit by_ref, won;

end:	do
	:: in_magazine[me] -> issue()
	:: in_magazine[me] ->
		move(in_magazine[me], in_hand[me]);
		if
		:: push_to_depot()
		:: letgo()
		fi
#ifdef POP_RELAXED
	:: !in_magazine[me] ->
		load(WORD, word);
		if
		:: pop(); atomic { issue_what_was_loaded() }; use_object()
		:: !mem[DEPOT] -> word = 0
		fi
#endif
	:: pop()
	/* The threads are alike: let the first birth be the first thread's. */
	:: mem[BIN] && (life || me == 0) -> birth()
	/* The user's own ways to pass a pointer or ref on release and acquire. */
	:: atomic { mine && DRAINED(me) -> passed_on = mine }
	:: atomic { passed_on && passed_on != mine -> mine = passed_on; EVENT(PASSED_ON) }
	:: mine -> put()
	:: mine -> atomic {
		load(WORD, word);
		if
		:: word == MAKE_WORD(generation_of[mine], LIVE) ->
			MUST(!ENDED(mine), stale_resolved)
		:: else -> MUST(ENDED(mine), live_unresolved)
		fi;
		word = 0
	}
	od;

done:	atomic {
		MUST(!in_hand[me], lost);
		word = 0;
		looked = 0;
		by_ref = false;
		won = false;
		goto end
	}
}

init {
	atomic {
		mem[BIN] = 1;
		run thread();
		run thread();
		run thread();
		run memory(0);
		run memory(1);
		run memory(2)
	};
	/* Bin and depot know of the slot whenever nobody is changing them. */
end:	atomic {
		DRAINED(0) && DRAINED(1) && DRAINED(2) && !mem[LOCK] &&
		(mem[BIN] != in_bin || mem[DEPOT] != in_depot) ->
		MUST(false, lost)
	}
}
