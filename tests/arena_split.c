/* SPDX-License-Identifier: MIT */
/*
 * No wraparound: how the 64 bits of a ref are split for objects of each size,
 * how long the hottest slot lasts, and what a thread that does nothing else but
 * use up slots leaves behind. Prints the table that DESIGN.md has, and checks
 * what must hold of it.
 *
 * The memory is measured: slots are retired until four slabs are used up, and
 * after each the committed bytes are looked at. In a debug build each slot goes
 * through all its lives (it has few); otherwise through its last three.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "arena/bin.h"
#include "numa/topo.h"

#define REUSES_A_SECOND 1e8
#define SECONDS_A_DAY   86400.0
#define MIB             ((size_t)1 << 20)

static int status = EXIT_SUCCESS;

#define MUST(bytes, condition)                                                                     \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%zu bytes: not so: %s\n", (size_t)(bytes), #condition);            \
			status = EXIT_FAILURE;                                                     \
		}                                                                                  \
	} while (0)

/* The first life of the slot that is to be gone through, in the place of those before it. */
static uint64_t
begin_life(const struct tidep_bin *bin, const struct tidep_run *run)
{
#ifdef TIDEP_DEBUG
	(void)bin;
	return run->granule->first_life + run->first;
#else
	return bin->geometry.end_life - (UINT64_C(2) << bin->geometry.index_bits) + run->first;
#endif
}

/* Lives a slot to its end; returns how many lives that took. */
static uint64_t
use_up(struct tidep_bin *bin, const struct tidep_run *run)
{
	tidep_word *word = &run->granule->words[run->first];
	uint64_t step = tidep_arena_put_step(bin->geometry.index_bits);
	uint64_t lives = 0;
	bool is_last = false;

	tidep_arena_slot_birth(word, begin_life(bin, run));
	while (!is_last) {
		uint64_t was = atomic_load(word);

		*(char *)tidep_arena_slot_at(run->granule, run->first) = 1;
		is_last = !tidep_arena_can_put(was, bin->geometry.end_life);
		if (!tidep_arena_slot_put(word, was, step))
			abort();
		lives++;
		if (!is_last)
			tidep_arena_slot_issue(word, atomic_load(word));
	}
	tidep_arena_bin_clear(bin, run->granule, run->first, false);
	tidep_arena_slot_retire(word);
	tidep_arena_bin_retire(bin, run->granule);
	return lives;
}

struct stranded {
	uint64_t most;   /* committed bytes with no object there */
	uint64_t at_end; /* after the last slab of the four */
};

static struct stranded
measure(size_t bytes)
{
	struct stranded stranded = { 0, 0 };
	const struct tidep_granule *at = NULL;
	struct tidep_geometry geometry;
	struct tidep_bin bin;
	unsigned numbers = 0;

	tidep_arena_geometry(&geometry, bytes, 16);
	tidep_arena_bin_init(&bin, &geometry, 0, false);
	for (;;) {
		struct tidep_run run;
		uint64_t lives;

		tidep_arena_bin_claim(&bin, 1, &run);
		if (run.slots == 0)
			abort();
		if (run.granule != at && ++numbers > 4) {
			tidep_arena_bin_release(&bin, &run);
			break;
		}
		at = run.granule;
		lives = use_up(&bin, &run);
		stranded.at_end = tidep_arena_bin_committed(&bin);
		if (stranded.at_end > stranded.most)
			stranded.most = stranded.at_end;
#ifdef TIDEP_DEBUG
		MUST(bytes, lives == geometry.end_life >> geometry.index_bits);
#else
		MUST(bytes, lives == 3);
#endif
	}
	tidep_arena_bin_fini(&bin);
	return stranded;
}

static void
print_seconds(double seconds)
{
	if (seconds < 120)
		printf("%9.3g s  ", seconds);
	else if (seconds < 7200)
		printf("%9.3g min", seconds / 60);
	else
		printf("%9.3g h  ", seconds / 3600);
}

static void
print_row(size_t bytes, unsigned index_bits)
{
	struct tidep_geometry g;
	struct stranded stranded;
	double generations, lives_a_number, numbers_a_day, years;

	tidep_arena_geometry(&g, bytes, 16);
	/* Generation 1 is the first one, that of end_life is the last. */
	generations = (double)(g.end_life >> g.index_bits);
	/* A slab goes as soon as it is empty and half its slots are used up. */
	lives_a_number = ((g.slots + 1) / 2) * generations;
	numbers_a_day = SECONDS_A_DAY * REUSES_A_SECOND / lives_a_number;
	years = (double)TIDEP_NUMBERS_MAX / numbers_a_day / 365;
	stranded = measure(bytes);

	printf("%9zu %6u %6u %12.0f ", bytes, g.slots, g.index_bits, generations);
	print_seconds(generations / REUSES_A_SECOND);
	printf(" %9.3g KiB %11.3g %9llu %9llu\n", numbers_a_day * 64, years,
	       (unsigned long long)stranded.most, (unsigned long long)stranded.at_end);

	MUST(bytes, g.index_bits == index_bits);
	MUST(bytes, stranded.most < g.granules * TIDEP_GRANULE_BYTES);
	MUST(bytes, stranded.at_end == 0);
	/* Whole pages do not even wait for that. */
	MUST(bytes, bytes % 4096 != 0 || stranded.most == 0);
#ifndef TIDEP_DEBUG
	MUST(bytes, generations / REUSES_A_SECOND > 2);
	MUST(bytes, numbers_a_day * 64 < 1300);
	MUST(bytes, years > 2000);
#endif
}

int
main(void)
{
	static const struct {
		size_t bytes;
		unsigned index_bits;
	} rows[] = { { 16, 12 },   { 64, 10 },   { 512, 9 }, { 4096, 9 },
		     { 5000, 10 }, { 65536, 6 }, { MIB, 2 }, { 64 * MIB, 0 } };

	if (tidep_numa_topo_load(1) != 0 || tidep_arena_start() != 0)
		return EXIT_FAILURE;
#ifdef TIDEP_DEBUG
	puts("This is a debug build, which has few generations.");
#endif
	printf("A ref: %u bits for the slab's number, %u for generation and slot index.\n"
	       "At 10^8 reuses a second:\n\n"
	       "                                        hottest     addresses   numbers  bytes "
	       "committed, no object\n"
	       "   object  slots  index  generations   slot lasts    used a day      last   at "
	       "most    at end\n"
	       "    bytes           bits                                           (years)\n",
	       TIDEP_NUMBER_BITS, TIDEP_LIFE_BITS);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		print_row(rows[i].bytes, rows[i].index_bits);
	return status;
}
