/* SPDX-License-Identifier: MIT */
/*
 * arena/region: runs of granules that nobody else has, and what belongs to an
 * address, whatever address it is.
 */
#include "config.h"

#include "arena/region.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "numa/fault.h"
#include "numa/osmem.h"
#include "numa/topo.h"
#include "rooms.h"

#define MIB             ((size_t)1 << 20)
#define OPEN_BYTES      (32 * MIB) /* as region.c opens */
#define OPEN_GRANULES   (OPEN_BYTES / TIDEP_GRANULE_BYTES)
#define OBJECT_GRANULES ((uint32_t)(64 * MIB / TIDEP_GRANULE_BYTES)) /* the largest slab */

static void
start(unsigned nodes)
{
	REQUIRE(tidep_numa_topo_load(nodes) == 0);
	REQUIRE(tidep_arena_start() == 0);
}

/* Addresses are short: of each reservation only so much more is to be had. */
static void
limit_addresses(size_t more_bytes)
{
	struct rlimit limit;

	REQUIRE(getrlimit(RLIMIT_AS, &limit) == 0);
	limit.rlim_cur = address_bytes() + more_bytes;
	REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
}

static char *
claim(unsigned node, uint32_t granules, struct tidep_granule **granule)
{
	char *run = tidep_arena_claim(node, granules, granule);

	REQUIRE(run != NULL);
	REQUIRE((uintptr_t)run % TIDEP_GRANULE_BYTES == 0);
	REQUIRE(*granule == tidep_arena_granule_of(run));
	return run;
}

START_TEST(starting_twice_is_starting_once)
{
	start(1);
	REQUIRE(atomic_load(&tidep_arena_space_count) == 1);
	REQUIRE(tidep_arena_start() == 0);
	REQUIRE(atomic_load(&tidep_arena_space_count) == 1);
}
END_TEST

/* How often a start asks for something: more than thrice where it has to halve. */
static int
count_askings(void)
{
	pid_t child = fork();
	int status;

	REQUIRE(child >= 0);
	if (child == 0) {
		atomic_store(&tidep_numa_fault_in, -1);
		if (tidep_arena_start() != 0)
			_exit(0);
		_exit((int)atomic_load(&tidep_numa_fault_asked));
	}
	REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
	return WEXITSTATUS(status);
}

START_TEST(a_start_that_is_refused_leaves_nothing)
{
	size_t before = 0;
	int askings;

	REQUIRE(tidep_numa_topo_load(1) == 0);
	askings = count_askings();
	REQUIRE(askings >= 3);
	/* The last two are a record and the granules' protection; once more, when warm. */
	for (int i = 0; i < 3; i++) {
		atomic_store(&tidep_numa_fault_in, askings - i % 2);
		REQUIRE(tidep_arena_start() == -ENOMEM);
		REQUIRE(atomic_load(&tidep_arena_space_count) == 0);
		REQUIRE(i == 0 || address_bytes() == before);
		REQUIRE(tidep_arena_granule_of(&i) == NULL);
		before = address_bytes();
	}
	/* A reservation that is refused is only halved. */
	atomic_store(&tidep_numa_fault_in, askings - 2);
	REQUIRE(tidep_arena_start() == 0);
	REQUIRE(atomic_load(&tidep_arena_space_count) == 1);
}
END_TEST

START_TEST(a_run_is_zero_writable_and_numbered)
{
	struct tidep_granule *granule;
	char *run;

	start(1);
	run = claim(0, 3, &granule);
	REQUIRE(is_zero(run, 3 * TIDEP_GRANULE_BYTES));
	memset(run, 0x77, 3 * TIDEP_GRANULE_BYTES);
	for (size_t at = 0; at < 3 * TIDEP_GRANULE_BYTES; at += 4093)
		REQUIRE(tidep_arena_granule_of(run + at) == granule + at / 65536);
	REQUIRE(tidep_arena_granule_of(run + 3 * TIDEP_GRANULE_BYTES - 1) == granule + 2);
	REQUIRE(tidep_arena_base_in(tidep_arena_space_of(granule), granule + 1) ==
		run + TIDEP_GRANULE_BYTES);
	/* Its words, and those of the last one, are writable too. */
	for (int i = 0; i < 3; i++) {
		tidep_word *words =
			tidep_arena_words_in(tidep_arena_space_of(granule), granule + i);

		for (size_t w = 0; w < TIDEP_GRANULE_SLOTS; w++) {
			REQUIRE(atomic_load(&words[w]) == 0);
			atomic_store(&words[w], UINT64_MAX);
		}
	}
	REQUIRE(is_zero(&granule[0], 3 * sizeof(*granule)));
}
END_TEST

/* Any mixture of claims and releases, each run stamped with its owner's number. */
START_TEST(runs_never_overlap)
{
	enum { RUNS = 200 };
	struct {
		char *run;
		struct tidep_granule *granule;
		uint32_t granules;
	} held[RUNS] = { 0 };
	uint64_t seed = 0x5eed;

	start(1);
	for (unsigned step = 0; step < ROUNDS(20000); step++) {
		unsigned i = (unsigned)(next_random(&seed) % RUNS);

		if (held[i].run != NULL) {
			for (uint32_t g = 0; g < held[i].granules; g++) {
				uint32_t *stamp = (void *)(held[i].run + g * TIDEP_GRANULE_BYTES);

				REQUIRE(*stamp == i + 1);
				*stamp = 0;
			}
			tidep_arena_release(0, held[i].run, held[i].granules, false);
			held[i].run = NULL;
			continue;
		}
		held[i].granules = 1 + (uint32_t)(next_random(&seed) % (i % 9 == 0 ? 300 : 8));
		held[i].run = claim(0, held[i].granules, &held[i].granule);
		for (uint32_t g = 0; g < held[i].granules; g++) {
			uint32_t *stamp = (void *)(held[i].run + g * TIDEP_GRANULE_BYTES);

			REQUIRE(*stamp == 0);
			*stamp = i + 1;
		}
	}
}
END_TEST

START_TEST(the_lowest_hole_that_fits_is_claimed)
{
	struct tidep_granule *granule;
	char *run[140];

	start(1);
	for (int i = 0; i < 140; i++) {
		run[i] = claim(0, 1, &granule);
		REQUIRE(run[i] == run[0] + (size_t)i * TIDEP_GRANULE_BYTES);
	}
	/* A hole of 1 at 10, of 3 across a line of the bitmap at 63, of 64 at 70. */
	tidep_arena_release(0, run[10], 1, false);
	for (int i = 63; i < 66; i++)
		tidep_arena_release(0, run[i], 1, false);
	for (int i = 70; i < 134; i++)
		tidep_arena_release(0, run[i], 1, false);
	REQUIRE(claim(0, 2, &granule) == run[63]);
	REQUIRE(claim(0, 64, &granule) == run[70]);
	REQUIRE(claim(0, 2, &granule) == run[0] + 140 * TIDEP_GRANULE_BYTES);
	REQUIRE(claim(0, 1, &granule) == run[10]);
	REQUIRE(claim(0, 1, &granule) == run[65]);
	REQUIRE(claim(0, 1, &granule) == run[0] + 142 * TIDEP_GRANULE_BYTES);
}
END_TEST

START_TEST(a_stranded_granule_is_never_claimed_again)
{
	struct tidep_granule *granule;
	char *run;

	start(1);
	run = claim(0, 4, &granule);
	tidep_arena_release(0, run, 4, true);
	REQUIRE(claim(0, 1, &granule) == run + TIDEP_GRANULE_BYTES);
	REQUIRE(claim(0, 3, &granule) == run + 2 * TIDEP_GRANULE_BYTES);
	tidep_arena_release(0, run + 2 * TIDEP_GRANULE_BYTES, 3, true);
	REQUIRE(claim(0, 4, &granule) == run + 3 * TIDEP_GRANULE_BYTES);
	for (int i = 0; i < 100; i++)
		REQUIRE(claim(0, 1, &granule) != run);
}
END_TEST

START_TEST(addresses_open_forward_in_steps)
{
	struct tidep_granule *granule;
	char *run;

	start(1);
	run = claim(0, 1, &granule);
	REQUIRE(is_writable(run + OPEN_BYTES - 1));
	REQUIRE(!is_readable(run + OPEN_BYTES));
	/* The next step at the first granule beyond, two more for the largest slab. */
	claim(0, OPEN_GRANULES - 1, &granule);
	REQUIRE(!is_readable(run + OPEN_BYTES));
	claim(0, 1, &granule);
	REQUIRE(is_writable(run + 2 * OPEN_BYTES - 1));
	REQUIRE(!is_readable(run + 2 * OPEN_BYTES));
	REQUIRE(claim(0, OBJECT_GRANULES, &granule) == run + OPEN_BYTES + TIDEP_GRANULE_BYTES);
	REQUIRE(is_writable(run + 4 * OPEN_BYTES - 1));
	REQUIRE(!is_readable(run + 4 * OPEN_BYTES));
}
END_TEST

START_TEST(an_open_that_is_refused_may_be_repeated)
{
	/* Three calls open a step, and what has opened stays so: the 4th is the next one's. */
	static const int refusals[] = { 1, 2, 3, 4, 2, 3 };
	struct tidep_granule *granule;
	char *run;

	start(1);
	run = claim(0, OPEN_GRANULES, &granule);
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		atomic_store(&tidep_numa_fault_in, refusals[i]);
		REQUIRE(tidep_arena_claim(0, OBJECT_GRANULES, &granule) == NULL);
		REQUIRE(atomic_load(&tidep_numa_fault_in) < 0);
	}
	atomic_store(&tidep_numa_fault_in, 4);
	REQUIRE(claim(0, OBJECT_GRANULES, &granule) == run + OPEN_BYTES);
	REQUIRE(is_zero(run + OPEN_BYTES, 2 * OPEN_BYTES));
	atomic_store(&tidep_numa_fault_in, 0);
	/* And of what did open nothing is lost. */
	REQUIRE(claim(0, 1, &granule) == run + 3 * OPEN_BYTES);
}
END_TEST

START_TEST(nodes_have_regions_of_their_own)
{
	const size_t region = 64 * MIB; /* at least */
	struct tidep_granule *granule;
	char *run[3][8];

	start(2);
	for (int i = 0; i < 8; i++) {
		run[0][i] = claim(0, 5, &granule);
		run[1][i] = claim(1, 5, &granule);
		run[2][i] = claim(TIDEP_NODE_INTERLEAVE, 5, &granule);
	}
	for (int a = 0; a < 3; a++)
		for (int i = 0; i < 8; i++)
			REQUIRE((uintptr_t)(run[a][i] - tidep_arena_spaces[0].base) / region ==
				(uintptr_t)(run[a][0] - tidep_arena_spaces[0].base) / region);
	for (int a = 0; a < 3; a++)
		for (int b = 0; b < a; b++)
			REQUIRE((size_t)labs(run[a][0] - run[b][0]) >= region);
	/* Each is released where it came from. */
	tidep_arena_release(1, run[1][3], 5, false);
	REQUIRE(claim(0, 5, &granule) != run[1][3]);
	REQUIRE(claim(1, 5, &granule) == run[1][3]);
}
END_TEST

/* ---- any pointer whatever --------------------------------------------------- */

static void
check_alien(uintptr_t addr)
{
	struct tidep_granule *granule;

	REQUIRE_MSG(tidep_arena_granule_of((const void *)addr) == NULL, "%#llx",
		    (unsigned long long)addr);
	REQUIRE(!tidep_arena_granule_in_first((const void *)addr, &granule));
}

START_TEST(a_pointer_of_others_has_no_granule)
{
	const struct tidep_space *space = &tidep_arena_spaces[0];
	struct tidep_granule *granule;
	uint64_t seed = 0xa11e;
	void *heap = malloc(100);
	uintptr_t base, end;

	check_alien(0x1000); /* before anything was reserved */
	start(1);
	base = (uintptr_t)space->base;
	end = base + space->bytes;
	claim(0, 1, &granule);
	for (uintptr_t low = 0; low < 100; low++) {
		check_alien(low);
		check_alien(UINTPTR_MAX - low);
	}
	for (int bit = 0; bit < 64; bit++) {
		uintptr_t addr = (uintptr_t)1 << bit;

		if (addr < base || addr >= end)
			check_alien(addr);
		check_alien(~(uintptr_t)0 << bit >> 1 << 1);
		/* As far from the reservation as from a power of two. */
		check_alien(bit < 40 ? base - addr : end + addr);
		if (bit >= 40)
			check_alien(base - addr);
		else
			check_alien(end + addr);
	}
	check_alien(base - 1);
	check_alien(end);
	check_alien((uintptr_t)&seed);
	check_alien((uintptr_t)heap);
	check_alien((uintptr_t)heap + 1);
	check_alien((uintptr_t)&tidep_arena_spaces);
	check_alien((uintptr_t)space->words);
	check_alien((uintptr_t)space->granules);
	check_alien(UINT64_C(0xffff800000000000));
	check_alien(UINT64_C(0xffffffff81000000));
	for (unsigned i = 0; i < ROUNDS(1000000); i++) {
		uint64_t addr = next_random(&seed);

		if (addr < base || addr >= end)
			check_alien(addr);
	}
	free(heap);
}
END_TEST

START_TEST(a_pointer_into_what_is_not_open_finds_an_empty_record)
{
	const struct tidep_space *space = &tidep_arena_spaces[0];
	struct tidep_granule *granule;
	uint64_t seed = 0x0de;
	char *run;

	start(1);
	run = claim(0, 1, &granule);
	for (unsigned i = 0; i < ROUNDS(20000); i++) {
		const char *ptr = space->base + next_random(&seed) % space->bytes;

		granule = tidep_arena_granule_of(ptr);
		REQUIRE(granule != NULL);
		REQUIRE((uintptr_t)(granule - space->granules) ==
			(uintptr_t)(ptr - space->base) / TIDEP_GRANULE_BYTES);
		REQUIRE(tidep_arena_bin_of(granule) == NULL);
		REQUIRE(tidep_arena_base_of(granule) == NULL);
	}
	granule = tidep_arena_granule_of(space->base + space->bytes - 1);
	REQUIRE(is_zero(granule, sizeof(*granule)));
	REQUIRE(run == space->base);
}
END_TEST

START_TEST(any_number_is_a_granules_or_nobodys)
{
	const struct tidep_space *space = &tidep_arena_spaces[0];
	struct tidep_granule *granule;
	uint64_t numbers;

	start(1);
	numbers = space->bytes / TIDEP_GRANULE_BYTES;
	for (uint64_t n = 0; n < numbers; n += 1 + n / 7) {
		REQUIRE(tidep_arena_granule_numbered(n) == &space->granules[n]);
		REQUIRE(tidep_arena_granule_numbered_in_first(n, &granule));
		REQUIRE(granule == &space->granules[n]);
		REQUIRE(tidep_arena_space_of(granule) == space);
	}
	REQUIRE(tidep_arena_granule_numbered(numbers - 1) != NULL);
	for (uint64_t n = 1; n != 0; n <<= 1)
		REQUIRE(tidep_arena_granule_numbered(numbers - 1 + n) == NULL);
	REQUIRE(tidep_arena_granule_numbered(numbers) == NULL);
	REQUIRE(tidep_arena_granule_numbered(TIDEP_NUMBERS_MAX) == NULL);
	REQUIRE(tidep_arena_granule_numbered(UINT64_MAX) == NULL);
	REQUIRE(!tidep_arena_granule_numbered_in_first(UINT64_MAX, &granule));
	for (uint64_t at = 0; at < space->bytes; at += 1 + at / 5)
		REQUIRE(tidep_arena_offset_of(tidep_arena_at(at)) == at);
}
END_TEST

/* ---- walks ------------------------------------------------------------------ */

static uint64_t
count_walk(const struct tidep_granule *wanted, unsigned *met)
{
	const struct tidep_granule *granule;
	uint64_t cursor = 0;
	uint64_t count = 0;

	while ((granule = tidep_arena_granule_next(&cursor)) != NULL) {
		REQUIRE(is_readable(tidep_arena_base_in(tidep_arena_space_of(granule), granule)));
		*met += granule == wanted;
		count++;
	}
	return count;
}

START_TEST(a_walk_meets_what_is_open_once)
{
	struct tidep_granule *granule;
	unsigned met = 0;

	start(2);
	REQUIRE(count_walk(NULL, &met) == 0);
	claim(0, 1, &granule);
	REQUIRE(count_walk(granule, &met) == OPEN_GRANULES);
	REQUIRE(met == 1);
	claim(1, OBJECT_GRANULES, &granule);
	met = 0;
	REQUIRE(count_walk(granule + 1023, &met) == 3 * OPEN_GRANULES);
	REQUIRE(met == 1);
}
END_TEST

/* ---- more than one space ---------------------------------------------------- */

START_TEST(spaces_follow_when_addresses_are_short)
{
	enum { RUNS = 64 };
	struct tidep_granule *granule[RUNS];
	char *run[RUNS] = { NULL };
	const struct tidep_granule *walked;
	unsigned met[RUNS] = { 0 };
	uint64_t cursor = 0;
	unsigned spaces;
	unsigned n = 0;

	REQUIRE(tidep_numa_topo_load(1) == 0);
	limit_addresses(2048 * MIB);
	REQUIRE(tidep_arena_start() == 0);
	while (n < RUNS && (run[n] = tidep_arena_claim(0, OBJECT_GRANULES, &granule[n])) != NULL)
		n++;
	spaces = atomic_load(&tidep_arena_space_count);
	REQUIRE(spaces >= 2);
	REQUIRE(n < RUNS);
	for (unsigned i = 0; i < n; i++) {
		char *last = run[i] + OBJECT_GRANULES * TIDEP_GRANULE_BYTES - 1;
		const struct tidep_space *space = tidep_arena_space_of(granule[i]);
		uint64_t number = space->first_number + (uint64_t)(granule[i] - space->granules);

		REQUIRE(tidep_arena_granule_of(run[i]) == granule[i]);
		REQUIRE(tidep_arena_granule_of(last) == granule[i] + OBJECT_GRANULES - 1);
		REQUIRE(tidep_arena_granule_numbered(number) == granule[i]);
		REQUIRE(tidep_arena_base_in(space, granule[i]) == run[i]);
		REQUIRE(tidep_arena_at(tidep_arena_offset_of(last)) == last);
		*run[i] = 1;
		*last = 1;
	}
	/* A walk goes through all of them. */
	while ((walked = tidep_arena_granule_next(&cursor)) != NULL)
		for (unsigned i = 0; i < n; i++)
			met[i] += walked == granule[i];
	for (unsigned i = 0; i < n; i++)
		REQUIRE(met[i] == 1);
	/* Numbers go on from space to space. */
	for (unsigned i = 1; i < spaces; i++)
		REQUIRE(tidep_arena_spaces[i].first_number ==
			tidep_arena_spaces[i - 1].first_number +
				tidep_arena_spaces[i - 1].bytes / TIDEP_GRANULE_BYTES);
	/* What is given back in the last space can be had again. */
	tidep_arena_release(0, run[n - 1], OBJECT_GRANULES, false);
	REQUIRE(claim(0, OBJECT_GRANULES, &granule[n - 1]) == run[n - 1]);
	REQUIRE(tidep_arena_claim(0, OBJECT_GRANULES, &granule[0]) == NULL);
}
END_TEST

/* All there ever are: refs have 24 bits for a number, so they end at 1 TiB. */
START_TEST(numbers_run_out_before_they_wrap)
{
	struct tidep_granule *granule;
	uint64_t runs = 0;
	char *run, *last = NULL;

	start(1);
	if (tidep_arena_spaces[0].bytes < ((size_t)1 << 40) - 1024 * MIB) {
		puts("numbers_run_out_before_they_wrap: skipped, there are too few addresses");
		return;
	}
	while ((run = tidep_arena_claim(0, OBJECT_GRANULES, &granule)) != NULL) {
		last = run;
		REQUIRE(runs++ < (uint64_t)TIDEP_NUMBERS_MAX / OBJECT_GRANULES + 1);
	}
	REQUIRE(runs == (uint64_t)(TIDEP_NUMBERS_MAX + 1) / OBJECT_GRANULES - 1);
	REQUIRE(tidep_arena_granule_numbered(TIDEP_NUMBERS_MAX) == NULL);
	tidep_arena_release(0, last, OBJECT_GRANULES, false);
	REQUIRE(claim(0, 1, &granule) == last);
}
END_TEST

int
main(void)
{
	return run_suite("arena_region",
			 (const TTest *const[]){
				 starting_twice_is_starting_once,
				 a_start_that_is_refused_leaves_nothing,
				 a_run_is_zero_writable_and_numbered,
				 runs_never_overlap,
				 the_lowest_hole_that_fits_is_claimed,
				 a_stranded_granule_is_never_claimed_again,
				 addresses_open_forward_in_steps,
				 an_open_that_is_refused_may_be_repeated,
				 nodes_have_regions_of_their_own,
				 a_pointer_of_others_has_no_granule,
				 a_pointer_into_what_is_not_open_finds_an_empty_record,
				 any_number_is_a_granules_or_nobodys,
				 a_walk_meets_what_is_open_once,
				 spaces_follow_when_addresses_are_short,
				 numbers_run_out_before_they_wrap,
				 NULL,
			 });
}
