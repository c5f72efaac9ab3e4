/* SPDX-License-Identifier: MIT */
/*
 * slot.pml - the slot word: one owner (B), stale stays stale (C), pins hold.
 *
 * One slot and three threads that do the same things in any order, for ever:
 * they get the slot from their magazine, the depot or the bin; keep its pointer
 * and a ref, pass both on, put by either, twice if they like and at the same
 * time; ask whether the ref resolves, pin by it, unpin, come by on a walk; hand
 * the idle slot to the depot, let it go to the bin, drop its slab and cut the
 * addresses anew, for another pool perhaps. The labels are those of
 * arena/slot.h and arena/slab.c:
 *
 *   SLOT_BIRTH       EMPTY g -> LIVE g        load and release store, slot in hand
 *   SLOT_ISSUE       IDLE g -> LIVE g         the same, by who holds its magazine
 *   SLOT_PUT         LIVE g -> IDLE g+1       compare-and-swap by anyone; no pins
 *   SLOT_PUT_PINNED  LIVE g -> LEAVING g+1    the same where there are pins
 *   SLOT_PIN         LIVE g, one pin more     compare-and-swap by who has a ref
 *   SLOT_PIN_LIVE    the same by a walk, for the life it has just seen
 *   SLOT_UNPIN       one pin less; LEAVING g without pins becomes IDLE g, in hand
 *   SLOT_RETIRE      IDLE g -> RETIRED g      g is past the last; slot in hand
 *   SLOT_LETGO       IDLE g -> EMPTY g        slot in hand
 *   SLAB_DROP        no bin, words read 0, the floor above all they ever said
 *   SLAB_CUT         a record and a bin again, lives above the floor
 *
 * BREAKING is LEAVING to the model: it does not choose what becomes of the object
 * until the last unpin has it, which then may let it go.
 *
 * What one search cannot hold is searched in parts, each with all three threads:
 *
 *   (nothing)        bin under its lock, depot, puts; LAST generations, then RETIRED
 *   PIN, WALK        depot, puts, pins by ref, walks; the slot begins IDLE in the depot
 *   SLAB             two pools, bins, slab dropped and cut; at most LIVES lives, no
 *                    depot. Puts by pointer and ref, for the wrong pool too;
 *   SLAB PIN         or pins by ref, for the wrong pool too;
 *   SLAB WALK        or walks of either pool.
 *
 * With SLAB a bin is one word, taken by an acquire and given by a release, and so
 * are the free addresses: each stands for a lock and what it guards, which the
 * first part has in full. Pool 0 splits the ref after one bit of index, pool 1
 * after two, so that generations of the two coincide where refs do not.
 *
 * A put by pointer can only name a slot; so where the slot was handed out again
 * by the same pool before the put looked at the word, B promises nothing, and the
 * model's thread drops the pointer. (Put by ref names the life and always tries.)
 * A put that had looked before that, and lost, must be refused like any other;
 * and never may one end the life of another pool's object.
 *
 * The depot is one word: push is a release and pop an acquire compare-and-swap. A
 * magazine is its thread's own here; what a collector takes out of one is
 * gate.pml's business and reaches the depot by a push as here. The object is one
 * byte: zero, good, or written in the nth life. Owners and pinners write, the
 * winner of a put or the last unpin resets, letting go clears.
 *
 * Checked:
 *   two_owners       an object is handed out while it is live, or twice
 *   two_puts         a put succeeds that is not the first one of its own life
 *   wrongly_refused  a put is refused though its life goes on
 *   two_places       someone uses the slot from where it is not
 *   lost             bin, depot or addresses do not know of the slot; or it was put
 *                    while pinned, the last pin is gone, and nobody has it
 *   wrong_state      a transition starts from a state it must not start from
 *   reused           a life has a name that is not above all earlier ones, or past
 *                    the last
 *   stale_resolved   a ref resolves after its life has ended
 *   live_unresolved  a ref does not resolve though its life goes on
 *   dirty            an owner or a pinner finds what another life wrote
 *   trampled         a put finds that the object was changed behind its owner
 *   disturbed        an object is reset, let go, handed out, or its slab dropped,
 *                    while somebody has it pinned
 *   stale_pin        a pin succeeds outside its ref's own life
 *   pin_refused      a pin is refused though its life goes on and there is room
 *   crowded          a pin by ref takes what is kept for walks
 *   leaked           the word does not count the pins there are
 *   missed           a walk passes by an object that it must visit
 *   wrong_pool       a put, pin or visit succeeds for a pool that has not the object
 *   torn             who sees the pool's bin sees another slab's record
 *   invalid end      somebody waits for ever
 *
 * Memory is buffer.pml's. Loads are in order; POP_RELAXED and WALK_RELAXED show
 * loads that are not. The put's acq_rel lets its write be seen later than the
 * reset's stores on LL/SC machines; nobody acts on seeing IDLE, so seeing LIVE for
 * longer only makes a second put lose in its compare-and-swap instead of before
 * it. Its release alone orders nothing that is modelled: the winner goes on in
 * program order and hands on by a release; so there is no mutant for it.
 *
 * A pin is one step from its own load to its compare-and-swap, since that succeeds
 * for no other value and has no effect if it fails; the look at the bin is a step
 * before it. Steps of one thread that nobody else can see apart (stores into its
 * own buffer, loads of what it alone may change) are one.
 *
 * Not modelled: several slots and slabs (a walk meets each slot once, they share
 * nothing but the floor), more than one pin of one thread, a pin count that is
 * full for walks, and that addresses are given up when lives are half used up and
 * not, as here, when no life is left for the pool.
 */
#define THREADS 3
#ifdef SLAB
#define VALUE short
#define LOCATIONS 7
#else
#define LOCATIONS 5
#endif
#define ROOM 6
#ifndef PUT_PLAIN /* nothing drains there */
#define NEVER_FULL
#endif
#include "buffer.pml"

#if defined(PIN) || defined(WALK)
#define PINS
#endif
#if defined(SLAB) || !defined(PINS)
#define BINS
#endif

#define WORD 0
#define OBJECT 1
#define DEPOT 2
#ifdef SLAB
#define OWNER 2  /* the granule's bin: 0, or whose it is + 1 */
#define BIN(p) (3 + (p))
#define RECORD 5 /* the rest of the granule's record; here the slab's first life */
#define RUN 6    /* are the addresses free? */
#else
#define BIN(p) 3
#define LOCK 4
#endif

/* life, pins, state: in the order of the C word */
#define EMPTY 0
#define IDLE 1
#define LIVE 2
#define RETIRED 3
#define LEAVING 4
#define PIN_ONE 8
#define LIFE_ONE 32
#define STATE(w) ((w) % PIN_ONE)
#define STANDING(w) ((w) % LIFE_ONE)
#define PINS_IN(w) (STANDING(w) / PIN_ONE)
#define LIFE(w) ((w) / LIFE_ONE)
#define MAKE_WORD(l, s) ((l) * LIFE_ONE + (s))
#define PINS_MAX 3
#define PINS_FOR_REFS 2 /* the rest is kept for walks */

/* A life is what a ref says beside the slab's number: generation << BITS | index. */
#ifdef SLAB
#define BITS(p) (1 + (p))
#define INDEX 1
#define FLOOR 5
#ifndef LIVES
#define LIVES 2
#endif
#ifndef USED_UP_0
#define USED_UP_0 99
#endif
#define USED_UP(p) ((p) -> 99 : USED_UP_0)
#else
#define BITS(p) 0
#define INDEX 0
#define FLOOR 0
#ifndef LAST
#define LAST 2
#endif
#define LIVES LAST
#define USED_UP(p) (LAST + 1)
#endif

/* Of which the word has all; or, in the mutant, as much as it takes in one slab. */
#ifdef WORD_WITHOUT_INDEX
#define IN_WORD(life, p) ((life) >> BITS(p))
#define LIFE_OF(w, p) ((LIFE(w) << BITS(p)) + INDEX)
#define GENERATION_ONE(p) LIFE_ONE
#else
#define IN_WORD(life, p) (life)
#define LIFE_OF(w, p) LIFE(w)
#define GENERATION_ONE(p) (LIFE_ONE << BITS(p))
#endif

/*
 * The truth, kept beside the modelled memory. The slot is in one place at a time.
 * A life begins at BIRTH and ISSUE and ends at PUT, pinned or not; here lives are
 * counted, and pinned is the one that is or the one that was last.
 */
bit in_bin;
bit in_depot;
bit in_magazine[THREADS];
bit in_hand[THREADS];
bit is_live;
bit is_leaving;
bit is_retired;
bit is_released;
bit has_pin[THREADS];
byte life;             /* how many there were; the last one if is_live */
VALUE name_of[LIVES + 1];
byte mine_of[THREADS]; /* the life whose pointer and ref each keeps, long after its end perhaps */
#ifdef SLAB
bit pool_of[LIVES + 1];
bit owner;             /* which pool cut the slab last, */
VALUE first;           /* the first life there, */
VALUE floor = FLOOR;   /* and above all there was before; the arena lock's */
#define POOL_OF(l) pool_of[l]
#define FIRST_LIFE first
#else
#define POOL_OF(l) 0
#define FIRST_LIFE 1
#define owner 0
#define pool 0
#endif
hidden short seen;     /* these mean nothing between two steps */
hidden byte is_record;
#define mine mine_of[me]
#define ENDED(l) (!is_live || life != (l))
#define PINNERS (has_pin[0] + has_pin[1] + has_pin[2])
/* Live, and everyone can see it. */
#define SHOWN (is_live && STATE(mem[WORD]) == LIVE)

/* What must never be; see above. */
bit two_owners, two_puts, wrongly_refused, two_places, lost, wrong_state, reused;
bit stale_resolved, live_unresolved, dirty, trampled, disturbed;
bit stale_pin, pin_refused, crowded, leaked, missed, wrong_pool, torn;

/* What must happen. */
#define REBORN 1
#define REISSUED 2
#define PASSED_ON 3
#define REFUSED_EARLY 4
#define REFUSED_LATE 5
#define STALE_REFUSED 6
#define RACED_REISSUE 7
#define WORN_OUT 8
#define OUTSIDE_B 9
#define TWO_PINS 10
#define OVERFLOWED 11
#define PIN_STALE 12
#define LEFT_PINNED 13
#define LAST_UNPIN 14
#define VISITED 15
#define VISIT_RACED 16
#define NO_OWNER 17
#define OTHER_OWNER 18
#define RECUT_SAME 19
#define RECUT_OTHER 20
#define LATE_PUT 21
#define LATE_PIN 22
#define LATE_VISIT 23
#define NOTHING 255

inline move(from, to)
{
	d_step { MUST(from, two_places); from = false; to = true }
}

inline must_be_in_hand()
{
	d_step { MUST(in_hand[me] && !PINNERS, disturbed) }
}

/* ---- locks and look-ups ------------------------------------------------- */

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

#ifdef SLAB
/* Whose is the granule? Who sees a bin there must see the record that goes with it. */
inline look_at_granule()
{
	load(RECORD, seen);
	is_record = (seen == first);
	load(OWNER, seen);
	d_step {
		MUST(seen != owner + 1 || is_record, torn);
		EVENT((seen == pool + 1 -> NOTHING : (seen -> OTHER_OWNER : NO_OWNER)))
	}
}

#define check_owner(else_do) \
	atomic { look_at_granule(); if :: seen != pool + 1 -> else_do :: else fi }
#endif

/* ---- hand out ----------------------------------------------------------- */

/* The object's bytes: zero, as init or reset left it, or written in the nth life. */
#define RAW 0
#define GOOD 1
#define WRITTEN(l) (1 + (l))

/* What its owner does with an object, and who has it pinned. */
inline use_object()
{
	load(OBJECT, word);
	d_step { MUST(word == GOOD || word == WRITTEN(life), dirty); word = 0 };
	store(OBJECT, WRITTEN(life))
}

inline begin_life(from)
{
	d_step {
		MUST(from && !is_live, two_owners);
		MUST(!PINNERS, disturbed);
		from = false;
		is_live = true;
		MUST(life < LIVES, reused);
		life++;
		name_of[life] = LIFE_OF(word, pool);
		MUST(name_of[life] > name_of[life - 1] && name_of[life] < USED_UP(pool), reused);
#ifdef SLAB
		pool_of[life] = pool;
		MUST(owner == pool && name_of[life] >= first, wrong_state);
		MUST(name_of[life] % (1 << BITS(pool)) == INDEX, wrong_state);
#endif
		mine = life;
		word = 0
	};
	use_object()
}

inline birth()
{
	load(OBJECT, word);
	MUST(word == RAW, dirty);
	store(OBJECT, GOOD);
	load(WORD, word);
#ifdef SLAB
	load(RECORD, seen);
	seen = IN_WORD(seen + INDEX, pool);
#else
	seen = FIRST_LIFE;
#endif
	d_step {
		MUST(STANDING(word) == EMPTY, wrong_state);
		EVENT((word -> REBORN : NOTHING));
		word = MAKE_WORD((word -> LIFE(word) : seen), LIVE) /* [SLOT_BIRTH] */
	};
#ifdef BIRTH_RELAXED
	store(WORD, word);
#else
	store_release(WORD, word);
#endif
	begin_life(in_hand[me])
}

inline issue()
{
	d_step {
		MUST(STANDING(word) == IDLE, wrong_state);
		EVENT(REISSUED);
		word = word + (LIVE - IDLE) /* [SLOT_ISSUE] */
	};
#ifdef ISSUE_RELAXED
	store(WORD, word);
#else
	store_release(WORD, word);
#endif
	begin_life(in_magazine[me])
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
		CLEAR_OF(me, DEPOT) && mem[DEPOT] && (life || me == 0) ->
		mem[DEPOT] = 0;
		move(in_depot, in_magazine[me])
	}
#endif
}

/* The slab's record is written, for the pool, over what the addresses had before. */
#ifdef FLOOR_IN_GENERATIONS
#define ABOVE(w) ((LIFE_OF(w, pool) >> BITS(pool)) + 1)
#else
#define ABOVE(w) (LIFE_OF(w, pool) + 1)
#endif
#ifdef CUT_IGNORES_FLOOR
#define ABOVE_FLOOR(p) (((FLOOR >> BITS(p)) + 1) << BITS(p))
#else
#define ABOVE_FLOOR(p) (((floor >> BITS(p)) + 1) << BITS(p))
#endif

/* Else the addresses are of no use to this pool. */
#define HAS_LIVES(p) (ABOVE_FLOOR(p) + INDEX < USED_UP(p))

inline cut()
{
	d_step {
		EVENT((life -> (owner == pool -> RECUT_SAME : RECUT_OTHER) : NOTHING));
		owner = pool;
		first = ABOVE_FLOOR(pool)
	};
	/* [SLAB_CUT] */
#if defined(CUT_RELAXED)
	store(RECORD, first);
	store(OWNER, pool + 1)
#elif defined(CUT_EARLY)
	store_release(OWNER, pool + 1);
	store(RECORD, first)
#else
	store(RECORD, first);
	store_release(OWNER, pool + 1)
#endif
}

/* ---- in hand ------------------------------------------------------------- */

#ifdef RETIRE_NEVER
#define IS_USED_UP false
#else
#define IS_USED_UP (LIFE_OF(word, pool) >= USED_UP(pool))
#endif

/* Back to the loop, with nothing in hand. */
inline finish()
{
	d_step {
		MUST(!in_hand[me], lost);
		word = 0;
		looked = 0;
		by_ref = false;
#ifdef SLAB
		pool = 0
#endif
	};
	goto end
}

inline load_idle()
{
	must_be_in_hand();
	load(WORD, word);
	MUST(STANDING(word) == IDLE, wrong_state)
}

#ifdef SLAB
/* All slots are empty or retired, and the slab is in no list any more. */
inline drop()
{
	must_be_in_hand();
	load(WORD, word);
	d_step {
		MUST(STANDING(word) == EMPTY || STANDING(word) == RETIRED, wrong_state);
		floor = ABOVE(word)
	};
	/* [SLAB_DROP] */
#if !defined(DROP_KEEPS_OWNER) && !defined(DROP_LATE)
	store(OWNER, 0);
#endif
#ifndef DROP_KEEPS_WORDS
	store(WORD, 0);
#endif
	move(in_hand[me], is_released);
#ifdef RUN_RELAXED
	store(RUN, 1)
#else
	store_release(RUN, 1)
#endif
#ifdef DROP_LATE
	;
	store(OWNER, 0)
#endif
}
#endif

#ifdef BINS
inline letgo()
{
	load_idle();
#ifdef LETGO_RESETS
	word = MAKE_WORD(FIRST_LIFE, EMPTY);
#else
	word = word - (IDLE - EMPTY); /* [SLOT_LETGO] */
#endif
#ifdef LETGO_DIRTY
	store(OBJECT, GOOD);
#else
	store(OBJECT, RAW);
#endif
#ifndef LETGO_LATE
	store(WORD, word);
#endif
#ifdef SLAB
	if
	:: store_release(BIN(pool), 1); move(in_hand[me], in_bin)
	:: drop()
	fi
#else
	lock_bin();
	store(BIN(0), 1);
	move(in_hand[me], in_bin);
	unlock_bin()
#endif
#ifdef LETGO_LATE
	;
	store(WORD, word)
#endif
}
#endif

inline hand_on()
{
	if
#ifndef SLAB
	:: move(in_hand[me], in_magazine[me])
#ifdef PUSH_RELAXED
	:: CLEAR_OF(me, DEPOT) -> mem[DEPOT] = 1; move(in_hand[me], in_depot)
#else
	:: DRAINED(me) -> mem[DEPOT] = 1; move(in_hand[me], in_depot)
#endif
#endif
#ifdef BINS
	:: letgo()
#endif
	fi
}

/* The object is gone for good. */
inline retire()
{
	EVENT(WORN_OUT);
#ifdef RETIRE_WRAPS
	word = MAKE_WORD(FIRST_LIFE, IDLE);
	store(OBJECT, GOOD);
	store(WORD, word);
	hand_on()
#else
	word = word + (RETIRED - IDLE); /* [SLOT_RETIRE] */
	store(OBJECT, RAW);
	store(WORD, word);
#ifdef SLAB
	drop()
#else
	move(in_hand[me], is_retired)
#endif
#endif
}

/* The slot is in our hand, its object as the last owner left it. */
inline take_back()
{
	load_idle();
	if
	:: IS_USED_UP -> retire()
	:: else -> store(OBJECT, GOOD); hand_on()
	fi
}

/* ---- take back ---------------------------------------------------------- */

#ifdef PUT_KEEPS_GENERATION
#define AFTER_PUT(w) ((w) - (LIVE - IDLE))
#else
#define AFTER_PUT(w) ((w) + GENERATION_ONE(pool) - (LIVE - IDLE)) /* [SLOT_PUT] */
#endif
#if defined(PUT_IGNORES_PINS)
#define AFTER_PUT_PINNED(w) (AFTER_PUT(w) - PINS_IN(w) * PIN_ONE)
#elif defined(PUT_PINNED_KEEPS_GENERATION)
#define AFTER_PUT_PINNED(w) ((w) + (LEAVING - LIVE))
#else
#define AFTER_PUT_PINNED(w) ((w) + GENERATION_ONE(pool) + (LEAVING - LIVE)) /* [SLOT_PUT_PINNED] */
#endif
#ifdef PUT_PINNED_RELAXED
#define PUT_WAITS (STANDING(word) == LIVE -> DRAINED(me) : CLEAR_OF(me, WORD))
#else
#define PUT_WAITS DRAINED(me)
#endif

inline end_life(to)
{
	d_step {
		MUST(!ENDED(mine), two_puts);
		MUST(owner == pool, wrong_pool);
		MUST(mem[OBJECT] == WRITTEN(mine) || !DRAINED(me), trampled);
		is_live = false;
		to = true;
		word = 0
	}
}

inline refuse(event)
{
	d_step {
		MUST(ENDED(mine) || POOL_OF(mine) != pool, wrongly_refused);
		EVENT(event)
	};
	finish()
}

/* Load the word; go on only if it may be put. */
inline look()
{
	load(WORD, word);
	if
	:: STATE(word) != LIVE ->
		refuse((looked -> REFUSED_LATE : REFUSED_EARLY))
	:: STATE(word) == LIVE && life != mine && !looked && owner == pool ->
		EVENT(OUTSIDE_B);
		finish()
#if defined(PUT_RETRIES)
	:: STATE(word) == LIVE && by_ref && LIFE(word) != looked -> finish()
#elif defined(PUT_REF_BLIND)
	:: STATE(word) == LIVE && !by_ref && looked && LIFE(word) != looked -> finish()
#else
	:: STATE(word) == LIVE && looked && LIFE(word) != looked ->
		refuse((by_ref -> STALE_REFUSED : RACED_REISSUE))
#endif
	:: else
	fi;
	looked = LIFE(word)
}

/* ---- pin ---------------------------------------------------------------- */

#if defined(PIN_ANY_LIFE)
#define MAY_PIN (STATE(word) == LIVE)
#elif defined(PIN_ANY_STATE)
#define MAY_PIN (LIFE(word) == IN_WORD(looked, pool))
#else
#define MAY_PIN (STATE(word) == LIVE && LIFE(word) == IN_WORD(looked, pool))
#endif
#ifdef PIN_UNLIMITED
#define PIN_LIMIT PINS_MAX
#else
#define PIN_LIMIT PINS_FOR_REFS
#endif
#ifdef WALK_ANY_STATE
#define WALK_STOPS (word == 0)
#define WALK_PINS (LIFE(mem[WORD]) == LIFE(word))
#elif defined(WALK_RETRIES)
#define WALK_STOPS (STATE(word) != LIVE)
#define WALK_PINS (STATE(mem[WORD]) == LIVE)
#else
#define WALK_STOPS (STATE(word) != LIVE)
#define WALK_PINS (STATE(mem[WORD]) == LIVE && LIFE(mem[WORD]) == LIFE(word))
#endif
#ifdef UNPIN_RELAXED
#define UNPIN_WAITS CLEAR_OF(me, WORD)
#else
#define UNPIN_WAITS DRAINED(me)
#endif
#if defined(UNPIN_FORGETS)
#define UNPIN_IS_LAST false
#elif defined(UNPIN_TAKES_LIVE)
#define UNPIN_IS_LAST (PINS_IN(word) == 0)
#elif defined(UNPIN_TAKES_EARLY)
#define UNPIN_IS_LAST (STATE(word) == LEAVING)
#else
#define UNPIN_IS_LAST (PINS_IN(word) == 0 && STATE(word) == LEAVING)
#endif

/* The second half of a compare-and-swap, or what a mutant does instead. */
inline swap_in(w)
{
#if defined(PIN_PLAIN) || defined(UNPIN_PLAIN)
	store(WORD, w)
#else
	mem[WORD] = w
#endif
}

/* The word, as we see it, counts one pin for each who has one. */
inline count_pins()
{
	load(WORD, word);
	d_step { MUST(PINS_IN(word) == PINNERS, leaked); word = 0 }
}

inline have_pin()
{
	d_step {
		MUST(owner == pool, wrong_pool);
		has_pin[me] = true;
		EVENT((PINNERS > 1 -> TWO_PINS : NOTHING))
	};
	count_pins()
}

/* ---- the threads -------------------------------------------------------- */

/* The user's own ways to pass a pointer or ref on release and acquire. */
inline take_over(from)
{
	atomic {
		mine_of[from] && mine_of[from] != mine && DRAINED(from) ->
		mine = mine_of[from];
		EVENT(PASSED_ON)
	}
}

/*
 * The threads are alike: let the first life be the first thread's. With SLAB the
 * slab is cut for pool 0 first, and there is an end of lives.
 */
#ifdef SLAB
#define MAY_GET(p) (life < LIVES && (life || (me == 0 && p == 0)) && (mem[BIN(p)] || mem[RUN]))
#else
#define MAY_GET(p) (mem[BIN(p)] && (life || me == 0))
#endif

#ifdef SLAB
inline get(p)
{
	atomic {
		MAY_GET(p) -> pool = p;
		if
		:: CLEAR_OF(me, BIN(p)) && mem[BIN(p)] ->
			mem[BIN(p)] = 0;
			move(in_bin, in_hand[me]);
			if
			:: birth()
			:: drop()
			fi
		:: CLEAR_OF(me, RUN) && mem[RUN] && HAS_LIVES(p) ->
#ifdef RUN_PLAIN
			store(RUN, 0);
#else
			mem[RUN] = 0;
#endif
			move(is_released, in_hand[me]);
			cut();
			birth()
		:: else
		fi;
		finish()
	}
}
#else
inline get(p)
{
	atomic {
		MAY_GET(0) -> lock_bin();
		load(BIN(0), word);
		if
		:: word ->
			store(BIN(0), 0);
			move(in_bin, in_hand[me]);
			unlock_bin();
			birth()
		:: else -> unlock_bin()
		fi;
		finish()
	}
}
#endif

/* What a put knows before it tries: by ref the life, by pointer what it sees. */
inline begin_put()
{
	if
	:: by_ref = true;
		looked = IN_WORD(name_of[mine], pool);
		word = MAKE_WORD(looked, LIVE)
	:: look()
	fi
}

#if defined(PUT_PLAIN)
inline swap_word()
{
	STANDING(word) == LIVE;
	store(WORD, AFTER_PUT(word));
	end_life(in_hand[me]);
	take_back();
	finish()
}
#elif defined(PUT_EXCHANGE)
inline swap_word()
{
	DRAINED(me) ->
	looked = (STANDING(mem[WORD]) == LIVE -> 0 : LIFE(word));
	mem[WORD] = AFTER_PUT(word);
	if
	:: !looked -> end_life(in_hand[me]); take_back(); finish()
	:: else -> look()
	fi
}
#else
inline swap_word()
{
	PUT_WAITS ->
	if
	:: mem[WORD] == word && STANDING(word) == LIVE ->
		mem[WORD] = AFTER_PUT(word);
		end_life(in_hand[me]);
		take_back();
		finish()
#ifdef PINS
	:: mem[WORD] == word && STANDING(word) != LIVE ->
		mem[WORD] = AFTER_PUT_PINNED(word);
		EVENT(LEFT_PINNED);
#ifdef PUT_IGNORES_PINS
		end_life(in_hand[me]);
		take_back();
#else
		end_life(is_leaving);
#endif
		finish()
#endif
	:: else ->
#ifdef SLAB
		EVENT((owner != pool -> LATE_PUT : NOTHING));
#endif
		look()
	fi
}
#endif

/* Ends life `mine`. */
inline put()
{
#ifdef SLAB
	atomic {
		mine -> pool = pool_of[mine];
#ifndef PINS
		if
		:: pool = 1 - pool
		:: true
		fi;
#endif
#ifdef PUT_OWNER_FIRST
		check_owner(refuse(NOTHING))
	};
	atomic {
#endif
		begin_put()
	};
#if !defined(PUT_UNCHECKED) && !defined(PUT_OWNER_FIRST)
	check_owner(refuse(NOTHING));
#endif
#else
	atomic { mine -> begin_put() };
#endif
	do
	:: atomic { swap_word() }
	od
}

/* Does the ref resolve? */
inline ask()
{
	atomic {
		mine ->
#ifdef SLAB
		pool = pool_of[mine];
		check_owner(refuse(NOTHING));
#endif
		load(WORD, word);
		if
		:: STATE(word) == LIVE && LIFE(word) == IN_WORD(name_of[mine], pool) ->
			MUST(!ENDED(mine), stale_resolved)
		:: else -> MUST(ENDED(mine), live_unresolved)
		fi;
		finish()
	}
}

/* By ref; one that nobody was given yet is no better than a stale one. */
inline pin()
{
	atomic {
		mine && !has_pin[me] ->
		looked = name_of[mine];
		if
#ifdef SLAB
		:: pool = pool_of[mine]
		:: pool = 1 - pool_of[mine]
#else
		:: true
		:: looked = looked + 1
#endif
		fi
#ifdef SLAB
	};
#ifndef PIN_UNCHECKED
	check_owner(finish());
#endif
	atomic {
		CLEAR_OF(me, WORD)
#endif
		;
#ifdef PIN_PLAIN
		load(WORD, word);
#else
		CLEAR_OF(me, WORD) -> word = mem[WORD];
#endif
		if
		:: MAY_PIN && PINS_IN(word) < PIN_LIMIT -> skip
		:: else ->
			MUST(!SHOWN || name_of[life] != looked || owner != pool ||
			     PINNERS >= PINS_FOR_REFS, pin_refused);
			EVENT((MAY_PIN -> OVERFLOWED : PIN_STALE));
#ifdef SLAB
			EVENT((owner != pool -> LATE_PIN : NOTHING));
#endif
			finish()
		fi;
#ifdef PIN_PLAIN
	};
	atomic {
#endif
		swap_in(word + PIN_ONE); /* [SLOT_PIN] */
		d_step {
			MUST(is_live && name_of[life] == looked, stale_pin);
			MUST(PINNERS < PINS_FOR_REFS, crowded)
		};
		have_pin();
		finish()
	}
}

/* A walk of the pool's finds nothing to visit. */
inline pass_by()
{
	MUST(!SHOWN || owner != pool, missed);
	finish()
}

/* tide_pool_each() comes to the slot. */
inline walk()
{
	atomic {
		!has_pin[me] ->
#ifdef SLAB
		if
		:: pool = 0
		:: pool = 1
		fi;
#endif
#ifdef WALK_OWNER_FIRST
		check_owner(pass_by())
	};
	atomic {
#endif
#ifdef WALK_RELAXED
		load(OBJECT, looked)
	};
	atomic {
#endif
		load(WORD, word); /* [SLOT_PIN_LIVE] */
		if
		:: WALK_STOPS -> pass_by()
		:: else
		fi
	};
#if defined(SLAB) && !defined(WALK_UNCHECKED) && !defined(WALK_OWNER_FIRST)
	check_owner(pass_by());
#endif
	atomic {
		CLEAR_OF(me, WORD) ->
		if
		:: WALK_PINS && PINS_IN(mem[WORD]) < PINS_MAX ->
			mem[WORD] = mem[WORD] + PIN_ONE;
			MUST(is_live, stale_pin);
			EVENT(VISITED);
#ifdef WALK_RELAXED
			MUST(looked == GOOD || looked == WRITTEN(life), dirty);
#endif
			have_pin()
		:: else ->
			MUST(!is_live || owner != pool || name_of[life] != LIFE_OF(word, pool), missed);
			EVENT(VISIT_RACED);
#ifdef SLAB
			EVENT((owner != pool -> LATE_VISIT : NOTHING))
#endif
		fi;
		finish()
	}
}

inline unpin()
{
	atomic {
		has_pin[me] ->
#ifdef UNPIN_PLAIN
		load(WORD, word)
	};
	atomic {
#else
		UNPIN_WAITS -> word = mem[WORD];
#endif
		d_step {
			MUST(PINS_IN(word), leaked);
			word = word - PIN_ONE; /* [SLOT_UNPIN] */
			has_pin[me] = false;
			by_ref = UNPIN_IS_LAST;
			if
			:: by_ref -> word = word - STATE(word) + IDLE
			:: else
			fi
		};
		swap_in(word);
		count_pins();
#ifdef SLAB
		pool = owner;
#endif
		if
		:: by_ref -> EVENT(LAST_UNPIN); move(is_leaving, in_hand[me]); take_back()
		:: else
		fi;
		finish()
	}
}

proctype thread()
{
	VALUE word;   /* as loaded */
	VALUE looked; /* the life that a put or a pin is for, if it knows */
	bit by_ref;
#ifdef SLAB
	bit pool;     /* whom we act for */
#endif

end:	do
#ifdef BINS
	:: get(0)
#endif
#ifdef SLAB
	:: get(1)
#else
	:: atomic { in_magazine[me] -> load(WORD, word); issue(); finish() }
	:: atomic { in_magazine[me] -> move(in_magazine[me], in_hand[me]); hand_on(); finish() }
	:: pop()
#ifdef POP_RELAXED
	:: !in_magazine[me] ->
		load(WORD, word);
		if
		:: pop(); atomic { issue(); finish() }
		:: !mem[DEPOT] -> word = 0
		fi
#endif
#endif
	:: take_over(0)
	:: take_over(1)
	:: take_over(2)
	:: put()
	:: ask()
#ifdef PIN
	:: pin()
#endif
#ifdef WALK
	:: walk()
#endif
#ifdef PINS
	:: atomic { has_pin[me] && CLEAR_OF(me, OBJECT) -> use_object(); finish() }
	:: unpin()
#endif
	od;
}

#ifdef SLAB
#define NOTED (mem[BIN(0)] + mem[BIN(1)] == in_bin && mem[RUN] == is_released)
#else
#define NOTED (mem[BIN(0)] == in_bin && mem[DEPOT] == in_depot)
#endif
#ifdef BINS
#ifdef SLAB
#define UNLOCKED true
#else
#define UNLOCKED (mem[LOCK] == 0)
#endif
#else
#define UNLOCKED true
#endif

init {
	atomic {
#if defined(SLAB)
		is_released = true;
		mem[RUN] = 1;
#elif defined(BINS)
		in_bin = true;
		mem[BIN(0)] = 1;
#else
		in_depot = true;
		mem[DEPOT] = 1;
		mem[OBJECT] = GOOD;
		mem[WORD] = MAKE_WORD(FIRST_LIFE, IDLE);
#endif
		run thread();
		run thread();
		run thread();
		run memory(0);
		run memory(1);
		run memory(2)
	};
	/* Whenever nothing is under way, who has to know of the slot does, and pins are counted. */
end:	atomic {
		DRAINED(0) && DRAINED(1) && DRAINED(2) && UNLOCKED &&
		(!NOTED || (is_leaving && !PINNERS) || PINS_IN(mem[WORD]) != PINNERS) ->
		MUST(false, lost)
	}
}
