/* SPDX-License-Identifier: MIT */
/*
 * arena/slab: the geometry of every size and alignment, claims in order, whole
 * pages given back between survivors, and lives that never come back in one
 * place, whatever is cut there.
 */
#include "config.h"

#include "arena/slab.h"

#include "numa/fault.h"
#include "numa/osmem.h"
#include "numa/topo.h"
#include "rooms.h"

#define MIB            ((size_t)1 << 20)
#define SIZE_MAX_BYTES (64 * MIB)
#define ALIGN_MAX      (64 << 10)

/* Only its address matters here: whose slab it is. */
static struct tidep_bin *const some_bin = (struct tidep_bin *)(uintptr_t)64;

static void
start(void)
{
	REQUIRE(tidep_numa_topo_load(1) == 0);
	REQUIRE(tidep_arena_start() == 0);
}

static struct tidep_slab *
create(const struct tidep_geometry *geometry)
{
	struct tidep_slab *slab = tidep_arena_slab_create(geometry, some_bin, 0);

	REQUIRE(slab != NULL);
	return slab;
}

static char *
slot_at(const struct tidep_slab *slab, uint32_t slot)
{
	return tidep_arena_base_of(slab->granule) + (size_t)slot * slab->granule->stride;
}

/* Claims all slots; returns how many pages that commits. */
static uint32_t
claim_all(struct tidep_slab *slab)
{
	uint32_t first, pages;
	uint32_t sum = 0;

	while (slab->empties > 0) {
		REQUIRE(tidep_arena_slab_claim(slab, 64, &first, &pages) > 0);
		sum += pages;
	}
	return sum;
}

/* ---- geometry --------------------------------------------------------------- */

static void
check_geometry(size_t bytes, size_t align)
{
	size_t least = bytes > TIDEP_STRIDE_MIN ? bytes : TIDEP_STRIDE_MIN;
	struct tidep_geometry g;
	uint64_t slab_bytes, lives;

	tidep_arena_geometry(&g, bytes, align);
	slab_bytes = (uint64_t)g.granules * TIDEP_GRANULE_BYTES;
	lives = UINT64_C(1) << TIDEP_LIFE_BITS;
#define OK(condition) REQUIRE_MSG(condition, "%zu bytes at %zu: %s", bytes, align, #condition)
	OK(g.stride >= least && g.stride - least < align && g.stride % align == 0);
	OK(g.slots >= 1 && g.slots <= TIDEP_GRANULE_SLOTS);
	OK((uint64_t)g.slots * g.stride <= slab_bytes);
	OK(slab_bytes - (uint64_t)g.slots * g.stride < g.stride);
	OK(g.slots == 1 || slab_bytes <= TIDEP_SLAB_BYTES_MAX);
	OK(g.slots >= TIDEP_SLAB_SLOTS || slab_bytes >= TIDEP_SLAB_BYTES_MAX);
	/* An index has room, and not a bit more than it needs. */
	OK(UINT64_C(1) << g.index_bits >= g.slots);
	OK(g.index_bits == 0 || UINT64_C(1) << (g.index_bits - 1) < g.slots);
	OK(g.reciprocal * g.stride >= UINT64_C(1) << 32);
	OK(g.reciprocal * g.stride - (UINT64_C(1) << 32) < g.stride);
	/* After the last life's put the word still holds what it says. */
	OK(g.end_life + (UINT64_C(1) << g.index_bits) == g.used_up);
	OK(g.end_life % (UINT64_C(1) << g.index_bits) == 0 && g.end_life > 0);
	OK(g.used_up + (UINT64_C(1) << g.index_bits) <= lives);
#undef OK
}

static void
check_size(size_t bytes)
{
	for (size_t align = 1; align <= ALIGN_MAX; align *= 2)
		check_geometry(bytes, align);
}

START_TEST(every_size_at_every_alignment)
{
	uint64_t seed = 0x9e0;

	for (size_t bytes = 1; bytes <= 20000; bytes++)
		check_size(bytes);
	for (size_t power = 16384; power <= SIZE_MAX_BYTES; power *= 2)
		for (size_t near = power - 40; near <= power + 40 && near <= SIZE_MAX_BYTES; near++)
			check_size(near);
	for (unsigned i = 0; i < ROUNDS(50000); i++)
		check_size(1 + next_random(&seed) % SIZE_MAX_BYTES);
	check_size(SIZE_MAX_BYTES);
}
END_TEST

/* The division by multiplication, for the start of every slot of a slab. */
static void
check_reciprocal(size_t bytes, size_t align)
{
	struct tidep_geometry g;
	struct tidep_granule granule = { .bin = NULL };

	tidep_arena_geometry(&g, bytes, align);
	granule.reciprocal = g.reciprocal;
	for (uint64_t slot = 0; slot < g.slots; slot++)
		REQUIRE_MSG(tidep_arena_slot_around(&granule, slot * g.stride) == slot,
			    "stride %u, slot %llu", g.stride, (unsigned long long)slot);
}

START_TEST(the_reciprocal_is_exact_for_every_slot)
{
	uint64_t seed = 0x4ec1;

	for (size_t bytes = 1; bytes <= 4096; bytes++)
		check_reciprocal(bytes, 1);
	for (size_t bytes = 4096; bytes <= 4 * MIB; bytes += bytes / 97)
		for (size_t align = 1; align <= ALIGN_MAX; align *= 16)
			check_reciprocal(bytes, align);
	for (unsigned i = 0; i < ROUNDS(3000); i++)
		check_reciprocal(1 + next_random(&seed) % SIZE_MAX_BYTES, 16);
}
END_TEST

/* Any address in a slab: only a slot's start has a word, and it is that slot's. */
START_TEST(only_the_start_of_a_slot_has_a_word)
{
	static const size_t sizes[] = { 1, 16, 17, 48, 64, 100, 1000, 4096, 5000, 40000, 70000 };

	start();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tidep_geometry g;
		struct tidep_slab *slab;
		char *base;

		tidep_arena_geometry(&g, sizes[i], 1);
		slab = create(&g);
		base = tidep_arena_base_of(slab->granule);
		for (uint64_t at = 0; at < g.granules * TIDEP_GRANULE_BYTES; at++) {
			const struct tidep_granule *granule = tidep_arena_granule_of(base + at);
			tidep_word *word = NULL;
			bool is_start = at % g.stride == 0;

			/* Of a large slab only the surroundings of slots. */
			if (at > 70000 && at % g.stride > 3 && at % g.stride < g.stride - 3)
				continue;
			REQUIRE(tidep_arena_bin_of(granule) == some_bin);
			REQUIRE_MSG(tidep_arena_word_at(granule, base + at, &word) == is_start,
				    "stride %u, offset %llu", g.stride, (unsigned long long)at);
			if (is_start)
				REQUIRE(word == &slab->granule->words[at / g.stride]);
			/* What lies in the rest behind the last slot is told by the index. */
			if (is_start && at / g.stride >= g.slots)
				REQUIRE(atomic_load(word) == 0);
		}
		tidep_arena_slab_destroy(slab, &g);
	}
}
END_TEST

START_TEST(words_of_neighbours_share_no_page)
{
	static const size_t sizes[] = { 16, 24, 128, 129, 4096, 70000, 64 * MIB };
	char *end = NULL;

	start();
	for (size_t i = 0; i < 40; i++) {
		struct tidep_geometry g;
		struct tidep_slab *slab;
		size_t bytes;
		char *from;

		tidep_arena_geometry(&g, sizes[i % 7], 16);
		slab = create(&g);
		tidep_arena_word_pages(slab->granule, g.slots, &from, &bytes);
		REQUIRE((uintptr_t)from % tidep_numa_page_bytes() == 0);
		REQUIRE(from <= (char *)slab->granule->words);
		REQUIRE(from + bytes >= (char *)(slab->granule->words + g.slots));
		REQUIRE(end == NULL || from >= end);
		end = from + bytes;
		for (uint32_t s = 0; s < g.slots; s++)
			atomic_store(&slab->granule->words[s], UINT64_MAX - i);
	}
}
END_TEST

/* ---- claim, release, trim ---------------------------------------------------- */

START_TEST(claims_take_the_lowest_and_end_at_a_line)
{
	struct tidep_geometry g;
	struct tidep_slab *slab;
	uint32_t first, pages;

	start();
	tidep_arena_geometry(&g, 64, 64);
	slab = create(&g);
	REQUIRE(slab->empties == g.slots);
	REQUIRE(tidep_arena_slab_claim(slab, 1, &first, &pages) == 1);
	REQUIRE(first == 0);
	REQUIRE(pages == 1);
	/* From 1 on 20 would end at 21: it ends at 16. */
	REQUIRE(tidep_arena_slab_claim(slab, 20, &first, &pages) == 15);
	REQUIRE(first == 1);
	REQUIRE(pages == 0);
	REQUIRE(tidep_arena_slab_claim(slab, 64, &first, &pages) == 64);
	REQUIRE(first == 16);
	REQUIRE(pages == 1);
	/* Fewer than a line end where they must. */
	REQUIRE(tidep_arena_slab_claim(slab, 5, &first, &pages) == 5);
	REQUIRE(first == 80);
	/* A hole is taken first, and not beyond its end. */
	tidep_arena_slab_release(slab, 30, 3);
	REQUIRE(tidep_arena_slab_claim(slab, 64, &first, &pages) == 3);
	REQUIRE(first == 30);
	tidep_arena_slab_release(slab, 7, 1);
	tidep_arena_slab_release(slab, 50, 2);
	REQUIRE(tidep_arena_slab_claim(slab, 64, &first, &pages) == 1);
	REQUIRE(first == 7);
	REQUIRE(slab->empties == g.slots - 85 + 2);
	claim_all(slab);
	REQUIRE(slab->empties == 0);
}
END_TEST

START_TEST(each_slot_is_claimed_once)
{
	static const size_t sizes[] = { 1, 24, 100, 640, 5000, 65536, 100000, 3 * MIB };
	uint64_t seed = 0xc1a1;

	start();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		bool claimed[TIDEP_GRANULE_SLOTS] = { false };
		struct tidep_geometry g;
		struct tidep_slab *slab;
		uint32_t held = 0;

		tidep_arena_geometry(&g, sizes[i], 8);
		slab = create(&g);
		for (unsigned step = 0; step < ROUNDS(4000); step++) {
			uint32_t slot = (uint32_t)(next_random(&seed) % g.slots);
			uint32_t first, pages, n;

			if (claimed[slot]) {
				tidep_arena_slab_release(slab, slot, 1);
				claimed[slot] = false;
				held--;
			} else if (held < g.slots) {
				n = tidep_arena_slab_claim(slab, 1 + slot % 70, &first, &pages);
				REQUIRE(n >= 1);
				REQUIRE(n <= 1 + slot % 70);
				REQUIRE(first + n <= g.slots);
				for (uint32_t s = 0; s < first; s++)
					REQUIRE(claimed[s]);
				for (uint32_t s = first; s < first + n; s++) {
					REQUIRE(!claimed[s]);
					claimed[s] = true;
				}
				held += n;
			}
			REQUIRE(slab->empties == g.slots - held);
		}
		tidep_arena_slab_destroy(slab, &g);
	}
}
END_TEST

/*
 * One survivor in a hundred: after the trim the pages without one are given
 * back, what the others hold is untouched, and the count is the kernel's.
 */
START_TEST(trim_gives_back_whole_pages_between_survivors)
{
	static const size_t sizes[] = { 16, 64, 100, 1000, 4096, 4097, 9000, 70000 };
	size_t page = tidep_numa_page_bytes();
	uint64_t seed = 0x7214;

	start();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t page_is_needed[TIDEP_SLAB_BYTES_MAX / 4096] = { 0 };
		bool survives[TIDEP_GRANULE_SLOTS] = { false };
		uint32_t pages, trimmed;
		struct tidep_geometry g;
		struct tidep_slab *slab;
		size_t needed = 0;
		char *base;

		tidep_arena_geometry(&g, sizes[i], 1);
		slab = create(&g);
		base = tidep_arena_base_of(slab->granule);
		pages = claim_all(slab);
		for (uint32_t s = 0; s < g.slots; s++)
			memset(slot_at(slab, s), (int)(s % 255) + 1, g.stride);
		REQUIRE(count_resident(base, slab->pages * page) == pages);
		for (uint32_t s = 0; s < g.slots; s++) {
			size_t at = (size_t)s * g.stride;

			survives[s] = next_random(&seed) % 100 == 0;
			if (!survives[s]) {
				memset(slot_at(slab, s), 0, g.stride);
				tidep_arena_slab_release(slab, s, 1);
				continue;
			}
			for (size_t p = at / page; p <= (at + g.stride - 1) / page; p++)
				page_is_needed[p] = 1;
		}
		for (size_t p = 0; p < slab->pages; p++)
			needed += page_is_needed[p];
		trimmed = tidep_arena_slab_trim(slab);
		REQUIRE(pages - trimmed == needed);
		REQUIRE(count_resident(base, slab->pages * page) == needed);
		for (uint32_t s = 0; s < g.slots; s++)
			for (size_t b = 0; b < g.stride; b += 1 + b / 3)
				REQUIRE((unsigned char)slot_at(slab, s)[b] ==
					(survives[s] ? s % 255 + 1 : 0));
		/* There is nothing to trim twice; and a new claim commits again. */
		for (uint32_t s = 0; s < g.slots; s++)
			if (!survives[s])
				(void)*(volatile char *)slot_at(slab, s);
		REQUIRE(tidep_arena_slab_trim(slab) == 0);
		REQUIRE(claim_all(slab) == trimmed);
		tidep_arena_slab_destroy(slab, &g);
		REQUIRE(count_resident(base, g.granules * TIDEP_GRANULE_BYTES) == 0);
	}
}
END_TEST

START_TEST(reach_is_where_the_nth_empty_slot_ends)
{
	struct tidep_geometry g;
	struct tidep_slab *slab;
	uint32_t first, pages;

	start();
	tidep_arena_geometry(&g, 128, 64);
	slab = create(&g);
	REQUIRE(tidep_arena_slab_reach(slab, 0) == 0);
	REQUIRE(tidep_arena_slab_reach(slab, 1) == 1);
	REQUIRE(tidep_arena_slab_reach(slab, g.slots) == g.slots);
	REQUIRE(tidep_arena_slab_reach(slab, g.slots + 1) == g.slots);
	REQUIRE(tidep_arena_slab_claim(slab, 200, &first, &pages) == 200);
	tidep_arena_slab_release(slab, 10, 2);
	tidep_arena_slab_release(slab, 100, 1);
	REQUIRE(tidep_arena_slab_reach(slab, 1) == 11);
	REQUIRE(tidep_arena_slab_reach(slab, 2) == 12);
	REQUIRE(tidep_arena_slab_reach(slab, 3) == 101);
	REQUIRE(tidep_arena_slab_reach(slab, 4) == 201);
}
END_TEST

START_TEST(a_slab_that_is_refused_leaves_nothing)
{
	struct tidep_granule *granule;
	struct tidep_geometry g;
	struct tidep_slab *slab;
	char *first_run;

	start();
	tidep_arena_geometry(&g, 64, 64);
	first_run = tidep_arena_claim(0, 1, &granule);
	REQUIRE(first_run != NULL);
	atomic_store(&tidep_numa_fault_in, 1);
	REQUIRE(tidep_arena_slab_create(&g, some_bin, 0) == NULL);
	slab = create(&g);
	REQUIRE(tidep_arena_base_of(slab->granule) == first_run + TIDEP_GRANULE_BYTES);
}
END_TEST

/* ---- lives never come back ---------------------------------------------------- */

/* One life of each of some slots: handed out, put, gone again. Returns the highest life. */
static uint64_t
live_once(struct tidep_slab *slab, const struct tidep_geometry *g, uint64_t floor, uint64_t *seed)
{
	uint64_t highest = 0;

	for (uint32_t s = 0; s < g->slots; s++) {
		tidep_word *word = &slab->granule->words[s];
		unsigned times = (unsigned)(next_random(seed) % 4);

		for (unsigned i = 0; i < times; i++) {
			uint64_t was, life;

			tidep_arena_slot_birth(word, slab->granule->first_life + s);
			was = atomic_load(word);
			life = tidep_arena_life(was);
			REQUIRE_MSG(life > floor, "life %#llx is not above %#llx",
				    (unsigned long long)life, (unsigned long long)floor);
			REQUIRE((life & ((UINT64_C(1) << g->index_bits) - 1)) == s);
			if (life >= g->end_life)
				break;
			if (life > highest)
				highest = life;
			REQUIRE(tidep_arena_slot_put(word, was,
						     tidep_arena_put_step(g->index_bits)));
			tidep_arena_slot_letgo(word);
		}
	}
	return highest;
}

/*
 * At one place slabs of all sizes come and go. What the words ever said stays
 * below what they say next, and when a number is used up it is given up.
 */
START_TEST(lives_go_on_whatever_is_cut_there)
{
	static const size_t sizes[] = { 16, 128, 65536, 3000, 64, 100000, 1 * MIB, 17, 4 * MIB };
	uint64_t floors[TIDEP_NUMBERS_MAX / 1024] = { 0 };
	uint64_t seed = 0xf1004;
	unsigned moved = 0;
	uint32_t at = 0;

	start();
	for (unsigned round = 0; round < 400; round++) {
		const struct tidep_space *space = &tidep_arena_spaces[0];
		struct tidep_geometry g;
		struct tidep_slab *slab;
		uint64_t highest;
		uint32_t number;

		tidep_arena_geometry(&g, sizes[next_random(&seed) % 9], 16);
		slab = create(&g);
		number = (uint32_t)(slab->granule - space->granules);
		REQUIRE(number < sizeof(floors) / sizeof(floors[0]));
		moved += number != at;
		at = number;
		for (uint32_t s = 0; s < g.slots; s++)
			REQUIRE(atomic_load(&slab->granule->words[s]) == 0);
		for (int lives = 0; lives < 3; lives++) {
			highest = live_once(slab, &g, lives == 0 ? floors[number] : 0, &seed);
			if (highest > floors[number])
				floors[number] = highest;
		}
		tidep_arena_slab_destroy(slab, &g);
		REQUIRE(floors[number] == 0 || space->granules[number].floor > floors[number]);
	}
#ifdef TIDEP_DEBUG
	/* Of so few generations some are used up, so it moves on. */
	REQUIRE(moved > 0);
#else
	REQUIRE(moved == 0);
#endif
}
END_TEST

/* A number whose lives are half used up is not cut again; what lies behind it is. */
START_TEST(a_used_up_number_is_given_up)
{
	struct tidep_geometry g;
	struct tidep_granule *granule;
	struct tidep_slab *slab;
	char *base;

	start();
	tidep_arena_geometry(&g, 4096, 4096);
	REQUIRE(g.granules > 2);
	slab = create(&g);
	granule = slab->granule;
	base = tidep_arena_base_of(granule);
	/* The last life was handed out, and put. */
	atomic_store(&granule->words[3], (g.used_up + 3) << TIDEP_LIFE_SHIFT | TIDEP_RETIRED);
	tidep_arena_slab_destroy(slab, &g);
	REQUIRE(granule->floor > g.used_up);
	slab = create(&g);
	REQUIRE(tidep_arena_base_of(slab->granule) == base + TIDEP_GRANULE_BYTES);
	REQUIRE(granule[1].first_life == UINT64_C(1) << g.index_bits);
	tidep_arena_slab_destroy(slab, &g);
}
END_TEST

START_TEST(a_slab_is_used_up_when_half_is_retired_and_the_rest_empty)
{
	struct tidep_geometry g;
	struct tidep_slab *slab;
	uint32_t first, pages;

	start();
	tidep_arena_geometry(&g, 64, 64);
	slab = create(&g);
	REQUIRE(!tidep_arena_slab_is_used_up(slab));
	for (uint32_t retired = 0; retired < g.slots; retired++) {
		bool is_used_up = retired >= (g.slots + 1) / 2;

		REQUIRE(tidep_arena_slab_is_used_up(slab) == is_used_up);
		REQUIRE(tidep_arena_slab_claim(slab, 1, &first, &pages) == 1);
		REQUIRE(!tidep_arena_slab_is_used_up(slab));
		slab->retired++;
	}
	REQUIRE(tidep_arena_slab_is_used_up(slab));
}
END_TEST

START_TEST(a_ref_of_a_report_is_of_the_present_or_the_last_life)
{
	static const size_t sizes[] = { 16, 5000, 2 * MIB };

	start();
	for (size_t i = 0; i < 3; i++) {
		struct tidep_geometry g;
		struct tidep_slab *slab;
		uint32_t slot;
		uint64_t number, life, generation = 9;

		tidep_arena_geometry(&g, sizes[i], 16);
		slab = create(&g);
		slot = g.slots - 1;
		number = (uint64_t)(slab->granule - tidep_arena_spaces[0].granules);
		life = (UINT64_C(5) << g.index_bits) + slot;
		/* From any granule of the slab. */
		REQUIRE(tidep_arena_last_ref(slab->granule + g.granules - 1, 0, &generation) == 0);
		REQUIRE(generation == 0);
		for (unsigned state = TIDEP_EMPTY; state <= TIDEP_BREAKING; state++) {
			uint64_t word = life << TIDEP_LIFE_SHIFT | state;
			uint64_t last =
				state == TIDEP_LIVE ? life : life - (UINT64_C(1) << g.index_bits);

			REQUIRE(tidep_arena_last_ref(slab->granule + g.granules - 1, word,
						     &generation) ==
				(number << TIDEP_LIFE_BITS | last));
			REQUIRE(generation == (state == TIDEP_LIVE ? 5u : 4u));
		}
	}
}
END_TEST

int
main(void)
{
	return run_suite("arena_slab",
			 (const TTest *const[]){
				 every_size_at_every_alignment,
				 the_reciprocal_is_exact_for_every_slot,
				 only_the_start_of_a_slot_has_a_word,
				 words_of_neighbours_share_no_page,
				 claims_take_the_lowest_and_end_at_a_line,
				 each_slot_is_claimed_once,
				 trim_gives_back_whole_pages_between_survivors,
				 reach_is_where_the_nth_empty_slot_ends,
				 a_slab_that_is_refused_leaves_nothing,
				 lives_go_on_whatever_is_cut_there,
				 a_used_up_number_is_given_up,
				 a_slab_is_used_up_when_half_is_retired_and_the_rest_empty,
				 a_ref_of_a_report_is_of_the_present_or_the_last_life,
				 NULL,
			 });
}
