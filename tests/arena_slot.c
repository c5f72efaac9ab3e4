/* SPDX-License-Identifier: MIT */
/*
 * arena/slot.h: each transition, on words of every life and index, and what it
 * refuses.
 */
#include "config.h"

#include "arena/slot.h"

#include <pthread.h>

#include "rooms.h"

#define LIFE_MAX         ((UINT64_C(1) << TIDEP_LIFE_BITS) - 1)
#define PINS_FOR_CALLERS (TIDEP_PINS_MAX - TIDEP_PINS_KEPT)

static uint64_t
word_of(uint64_t life, uint64_t pins, enum tidep_state state)
{
	return life << TIDEP_LIFE_SHIFT | pins << TIDEP_PIN_SHIFT | state;
}

static void
check_word(const tidep_word *word, uint64_t life, uint64_t pins, enum tidep_state state)
{
	uint64_t is = atomic_load(word);

	REQUIRE(tidep_arena_life(is) == life);
	REQUIRE(tidep_arena_pins(is) == pins);
	REQUIRE(tidep_arena_state(is) == state);
}

/* Lives at the ends of what 40 bits hold, of slots with any number of index bits. */
static const uint64_t lives[] = {
	1, 2, 4095, 4096, 4097, 0x123456789a, LIFE_MAX / 2, LIFE_MAX - 8192,
};

#define FOR_EACH_LIFE(life)                                                                        \
	for (size_t life##_at = 0; life##_at < sizeof(lives) / sizeof(lives[0]); life##_at++)      \
		for (uint64_t life = lives[life##_at]; life != 0; life = 0)

START_TEST(fields_do_not_overlap)
{
	REQUIRE(word_of(LIFE_MAX, TIDEP_PINS_MAX, 0xf) == UINT64_MAX);
	REQUIRE(word_of(0, TIDEP_PINS_MAX, 0xf) == TIDEP_STANDING_MASK);
	REQUIRE(TIDEP_PINS_MAX == (1 << 20) - 1);
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, 12345, TIDEP_BREAKING);

		check_word(&word, life, 12345, TIDEP_BREAKING);
	}
}
END_TEST

START_TEST(birth_of_a_fresh_slot_begins_at_the_first_life)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = 0;

		tidep_arena_slot_birth(&word, life);
		check_word(&word, life, 0, TIDEP_LIVE);
	}
}
END_TEST

START_TEST(birth_of_an_emptied_slot_goes_on)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, 0, TIDEP_EMPTY);

		tidep_arena_slot_birth(&word, 77);
		check_word(&word, life, 0, TIDEP_LIVE);
	}
}
END_TEST

START_TEST(issue_keeps_the_life)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, 0, TIDEP_IDLE);

		tidep_arena_slot_issue(&word, atomic_load(&word));
		check_word(&word, life, 0, TIDEP_LIVE);
	}
}
END_TEST

START_TEST(put_raises_the_generation_and_leaves_the_index)
{
	for (unsigned index_bits = 0; index_bits <= 12; index_bits++) {
		uint64_t step = tidep_arena_put_step(index_bits);

		FOR_EACH_LIFE(life)
		{
			uint64_t was = word_of(life, 0, TIDEP_LIVE);
			tidep_word word = was;

			REQUIRE(tidep_arena_slot_put(&word, was, step));
			check_word(&word, life + (UINT64_C(1) << index_bits), 0, TIDEP_IDLE);
			/* A second one, or one that comes late, changes nothing. */
			REQUIRE(!tidep_arena_slot_put(&word, was, step));
			check_word(&word, life + (UINT64_C(1) << index_bits), 0, TIDEP_IDLE);
		}
	}
}
END_TEST

START_TEST(put_while_pinned_leaves_the_pins)
{
	static const enum tidep_state leaving[] = { TIDEP_LEAVING, TIDEP_BREAKING };
	static const uint64_t pins[] = { 1, 2, PINS_FOR_CALLERS, TIDEP_PINS_MAX };

	for (unsigned index_bits = 0; index_bits <= 12; index_bits++) {
		uint64_t step = tidep_arena_put_step(index_bits);

		for (size_t i = 0; i < 8; i++) {
			FOR_EACH_LIFE(life)
			{
				uint64_t was = word_of(life, pins[i / 2], TIDEP_LIVE);
				tidep_word word = was;

				REQUIRE(tidep_arena_slot_put_pinned(&word, was, step,
								    leaving[i % 2]));
				check_word(&word, life + (UINT64_C(1) << index_bits), pins[i / 2],
					   leaving[i % 2]);
				REQUIRE(!tidep_arena_slot_put_pinned(&word, was, step,
								     leaving[i % 2]));
			}
		}
	}
}
END_TEST

/* Every standing but plain LIVE, and every life from the end on, goes the slow way. */
START_TEST(can_put_is_live_unpinned_and_below_the_end)
{
	static const uint64_t pins[] = { 0, 1, 2, 1 << 19, TIDEP_PINS_MAX };
	static const uint64_t ends[] = { 1, 2, 4096, 0x123456789a, LIFE_MAX };

	for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
		uint64_t near[] = { 0,           1,
				    ends[e] / 2, ends[e] - 1,
				    ends[e],     ends[e] + 1 > LIFE_MAX ? LIFE_MAX : ends[e] + 1,
				    LIFE_MAX };

		for (uint64_t state = 0; state <= TIDEP_STATE_MASK; state++)
			for (size_t p = 0; p < sizeof(pins) / sizeof(pins[0]); p++)
				for (size_t l = 0; l < sizeof(near) / sizeof(near[0]); l++) {
					uint64_t word = near[l] << TIDEP_LIFE_SHIFT |
							pins[p] << TIDEP_PIN_SHIFT | state;
					bool can = state == TIDEP_LIVE && pins[p] == 0 &&
						   near[l] < ends[e];

					REQUIRE_MSG(tidep_arena_can_put(word, ends[e]) == can,
						    "word %#llx, end %#llx",
						    (unsigned long long)word,
						    (unsigned long long)ends[e]);
				}
	}
}
END_TEST

START_TEST(pin_wants_just_this_life)
{
	static const enum tidep_state dead[] = { TIDEP_EMPTY, TIDEP_IDLE, TIDEP_RETIRED,
						 TIDEP_LEAVING, TIDEP_BREAKING };

	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, 0, TIDEP_LIVE);

		REQUIRE(tidep_arena_slot_pin(&word, life - 1, TIDEP_PINS_MAX) == -ESTALE);
		REQUIRE(tidep_arena_slot_pin(&word, life + 1, TIDEP_PINS_MAX) == -ESTALE);
		REQUIRE(tidep_arena_slot_pin(&word, life + 4096, TIDEP_PINS_MAX) == -ESTALE);
		check_word(&word, life, 0, TIDEP_LIVE);
		REQUIRE(tidep_arena_slot_pin(&word, life, TIDEP_PINS_MAX) == 0);
		check_word(&word, life, 1, TIDEP_LIVE);
		for (size_t i = 0; i < sizeof(dead) / sizeof(dead[0]); i++) {
			word = word_of(life, dead[i] >= TIDEP_LEAVING, dead[i]);
			REQUIRE(tidep_arena_slot_pin(&word, life, TIDEP_PINS_MAX) == -ESTALE);
			check_word(&word, life, dead[i] >= TIDEP_LEAVING, dead[i]);
		}
	}
}
END_TEST

START_TEST(the_last_pins_are_kept_for_walks)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, PINS_FOR_CALLERS - 1, TIDEP_LIVE);

		REQUIRE(tidep_arena_slot_pin(&word, life, PINS_FOR_CALLERS) == 0);
		REQUIRE(tidep_arena_slot_pin(&word, life, PINS_FOR_CALLERS) == -EOVERFLOW);
		check_word(&word, life, PINS_FOR_CALLERS, TIDEP_LIVE);
		for (unsigned i = 0; i < TIDEP_PINS_KEPT; i++)
			REQUIRE(tidep_arena_slot_pin(&word, life, TIDEP_PINS_MAX) == 0);
		check_word(&word, life, TIDEP_PINS_MAX, TIDEP_LIVE);
		/* One more would be a new life. */
		REQUIRE(tidep_arena_slot_pin(&word, life, TIDEP_PINS_MAX) == -EOVERFLOW);
		check_word(&word, life, TIDEP_PINS_MAX, TIDEP_LIVE);
	}
}
END_TEST

START_TEST(unpin_counts_down_and_no_further)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, TIDEP_PINS_MAX, TIDEP_LIVE);
		uint64_t was;

		REQUIRE(tidep_arena_slot_unpin(&word, &was));
		REQUIRE(was == word_of(life, TIDEP_PINS_MAX, TIDEP_LIVE));
		check_word(&word, life, TIDEP_PINS_MAX - 1, TIDEP_LIVE);
		word = word_of(life, 1, TIDEP_LIVE);
		REQUIRE(tidep_arena_slot_unpin(&word, &was));
		check_word(&word, life, 0, TIDEP_LIVE);
		REQUIRE(!tidep_arena_slot_unpin(&word, &was));
		check_word(&word, life, 0, TIDEP_LIVE);
		REQUIRE(was == word_of(life, 0, TIDEP_LIVE));
	}
}
END_TEST

START_TEST(the_last_unpin_of_a_put_slot_has_it_in_hand)
{
	static const enum tidep_state leaving[] = { TIDEP_LEAVING, TIDEP_BREAKING };

	for (int i = 0; i < 2; i++) {
		FOR_EACH_LIFE(life)
		{
			tidep_word word = word_of(life, 2, leaving[i]);
			uint64_t was;

			REQUIRE(tidep_arena_slot_unpin(&word, &was));
			check_word(&word, life, 1, leaving[i]);
			REQUIRE(tidep_arena_slot_unpin(&word, &was));
			REQUIRE(tidep_arena_state(was) == leaving[i]);
			check_word(&word, life, 0, TIDEP_IDLE);
			REQUIRE(!tidep_arena_slot_unpin(&word, &was));
		}
	}
}
END_TEST

START_TEST(letgo_and_retire_keep_the_life)
{
	FOR_EACH_LIFE(life)
	{
		tidep_word word = word_of(life, 0, TIDEP_IDLE);

		tidep_arena_slot_letgo(&word);
		check_word(&word, life, 0, TIDEP_EMPTY);
		word = word_of(life, 0, TIDEP_IDLE);
		tidep_arena_slot_retire(&word);
		check_word(&word, life, 0, TIDEP_RETIRED);
	}
}
END_TEST

START_TEST(a_walk_looks_for_live_ones)
{
	FOR_EACH_LIFE(life)
	{
		for (unsigned state = TIDEP_EMPTY; state <= TIDEP_BREAKING; state++) {
			tidep_word word = word_of(life, 3, (enum tidep_state)state);
			uint64_t seen = 0;

			REQUIRE(tidep_arena_slot_look(&word, &seen) == (state == TIDEP_LIVE));
			if (state == TIDEP_LIVE)
				REQUIRE(seen == life);
		}
	}
}
END_TEST

/* ---- races: of any number of puts one wins, and no pin is lost -------------- */

#define RACERS 3

static tidep_word raced;
static pthread_barrier_t gun;
static unsigned rounds;

struct racer {
	unsigned puts, pins, last_unpins;
};

static void *
race(void *arg)
{
	struct racer *racer = arg;
	uint64_t step = tidep_arena_put_step(9);

	for (unsigned i = 0; i < rounds; i++) {
		uint64_t life = (UINT64_C(1) + i) << 9;
		uint64_t was;
		bool pinned;

		pthread_barrier_wait(&gun);
		pinned = tidep_arena_slot_pin(&raced, life, PINS_FOR_CALLERS) == 0;
		racer->pins += pinned;
		do {
			was = atomic_load(&raced);
			if (tidep_arena_life(was) != life || tidep_arena_state(was) != TIDEP_LIVE)
				break;
			if (tidep_arena_pins(was) == 0
				    ? tidep_arena_slot_put(&raced, was, step)
				    : tidep_arena_slot_put_pinned(&raced, was, step,
								  TIDEP_LEAVING)) {
				racer->puts++;
				racer->last_unpins += tidep_arena_pins(was) == 0;
				break;
			}
		} while (true);
		if (pinned) {
			REQUIRE(tidep_arena_slot_unpin(&raced, &was));
			racer->last_unpins += tidep_arena_pins(was) == 1 &&
					      tidep_arena_state(was) == TIDEP_LEAVING;
		}
		/* All are through: the word must be idle, and whoever is chosen issues it. */
		if (pthread_barrier_wait(&gun) == PTHREAD_BARRIER_SERIAL_THREAD) {
			was = atomic_load(&raced);
			REQUIRE(was == word_of(life + (1 << 9), 0, TIDEP_IDLE));
			tidep_arena_slot_issue(&raced, was);
		}
	}
	return NULL;
}

START_TEST(of_racing_puts_one_wins_and_one_thread_has_the_slot_in_hand)
{
	struct racer racers[RACERS] = { 0 };
	pthread_t threads[RACERS];
	unsigned puts = 0;
	unsigned last = 0;

	rounds = ROUNDS(4000);
	raced = word_of(1 << 9, 0, TIDEP_LIVE);
	REQUIRE(pthread_barrier_init(&gun, NULL, RACERS) == 0);
	for (int i = 0; i < RACERS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, race, &racers[i]) == 0);
	for (int i = 0; i < RACERS; i++) {
		REQUIRE(pthread_join(threads[i], NULL) == 0);
		puts += racers[i].puts;
		last += racers[i].last_unpins;
	}
	REQUIRE(puts == rounds);
	REQUIRE(last == rounds);
}
END_TEST

int
main(void)
{
	return run_suite("arena_slot",
			 (const TTest *const[]){
				 fields_do_not_overlap,
				 birth_of_a_fresh_slot_begins_at_the_first_life,
				 birth_of_an_emptied_slot_goes_on,
				 issue_keeps_the_life,
				 put_raises_the_generation_and_leaves_the_index,
				 put_while_pinned_leaves_the_pins,
				 can_put_is_live_unpinned_and_below_the_end,
				 pin_wants_just_this_life,
				 the_last_pins_are_kept_for_walks,
				 unpin_counts_down_and_no_further,
				 the_last_unpin_of_a_put_slot_has_it_in_hand,
				 letgo_and_retire_keep_the_life,
				 a_walk_looks_for_live_ones,
				 of_racing_puts_one_wins_and_one_thread_has_the_slot_in_hand,
				 NULL,
			 });
}
