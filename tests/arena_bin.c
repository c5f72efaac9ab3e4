/* SPDX-License-Identifier: MIT */
/*
 * arena/bin: which slot comes next, which slabs go, and that the committed
 * bytes are what the kernel says.
 */
#include "config.h"

#include "arena/bin.h"

#include <errno.h>

#include "numa/fault.h"
#include "numa/osmem.h"
#include "numa/topo.h"
#include "rooms.h"

#define MIB ((size_t)1 << 20)

static void
start(struct tidep_bin *bin, size_t bytes, bool keeps_slabs)
{
	struct tidep_geometry geometry;

	if (tidep_numa_topo.nodes == 0) {
		REQUIRE(tidep_numa_topo_load(1) == 0);
		REQUIRE(tidep_arena_start() == 0);
	}
	tidep_arena_geometry(&geometry, bytes, bytes >= 64 ? 64 : 16);
	tidep_arena_bin_init(bin, &geometry, 0, keeps_slabs);
}

static struct tidep_run
claim(struct tidep_bin *bin, uint32_t max)
{
	struct tidep_run run;

	tidep_arena_bin_claim(bin, max, &run);
	REQUIRE(run.slots >= 1);
	REQUIRE(run.slots <= max);
	return run;
}

static void
release(struct tidep_bin *bin, const struct tidep_granule *granule, uint32_t first, uint32_t slots)
{
	struct tidep_run run = { (struct tidep_granule *)(uintptr_t)granule, first, slots };

	tidep_arena_bin_release(bin, &run);
}

/* Claims all slots of the next slab. */
static struct tidep_granule *
claim_slab(struct tidep_bin *bin)
{
	struct tidep_granule *granule = NULL;
	uint32_t slots = 0;

	while (slots < bin->geometry.slots) {
		struct tidep_run run = claim(bin, bin->geometry.slots);

		if (granule == NULL)
			granule = run.granule;
		REQUIRE(run.granule == granule);
		REQUIRE(run.first == slots);
		slots += run.slots;
	}
	return granule;
}

/* Pages of all the bin's slabs that are in memory. */
static size_t
resident_bytes(const struct tidep_bin *bin)
{
	size_t page = tidep_numa_page_bytes();
	size_t pages = 0;

	for (unsigned list = 0; list < TIDEP_LISTS; list++)
		for (struct tidep_slab *slab = bin->lists[list]; slab != NULL; slab = slab->next)
			pages += count_resident(tidep_arena_base_of(slab->granule),
						slab->pages * page);
	return pages * page;
}

static void
write_run(const struct tidep_granule *granule, uint32_t first, uint32_t slots)
{
	memset(tidep_arena_slot_at(granule, first), 0x6b, (size_t)slots * granule->stride);
}

START_TEST(slots_come_from_the_fullest_slab)
{
	struct tidep_granule *slab[4];
	struct tidep_run run;
	struct tidep_bin bin;
	uint32_t slots;

	start(&bin, 128, false);
	slots = bin.geometry.slots;
	for (int i = 0; i < 4; i++)
		slab[i] = claim_slab(&bin);
	REQUIRE(bin.slabs == 4);
	/* Three quarters, half, a quarter and none of them are in use. */
	release(&bin, slab[2], 0, slots / 4);
	release(&bin, slab[0], 10, slots / 2);
	release(&bin, slab[3], 20, slots * 3 / 4);
	release(&bin, slab[1], 0, slots);
	REQUIRE(bin.slabs == 4);
	for (uint32_t n = 0; n < slots / 4; n += run.slots) {
		run = claim(&bin, 8);
		REQUIRE(run.granule == slab[2]);
		REQUIRE(run.first == n);
	}
	/* The lowest address first: 10 .. 15 end a line. */
	run = claim(&bin, 8);
	REQUIRE(run.granule == slab[0]);
	REQUIRE(run.first == 10);
	REQUIRE(run.slots == 6);
	for (uint32_t n = run.slots; n < slots / 2; n += run.slots) {
		run = claim(&bin, 8);
		REQUIRE(run.granule == slab[0]);
	}
	for (uint32_t n = 0; n < slots * 3 / 4; n += run.slots) {
		run = claim(&bin, 8);
		REQUIRE(run.granule == slab[3]);
	}
	/* The empty one only now, and a new one after it. */
	REQUIRE(claim_slab(&bin) == slab[1]);
	REQUIRE(bin.slabs == 4);
	claim(&bin, 1);
	REQUIRE(bin.slabs == 5);
	tidep_arena_bin_fini(&bin);
}
END_TEST

START_TEST(of_empty_slabs_one_is_kept)
{
	size_t page = tidep_numa_page_bytes();
	struct tidep_granule *slab[3];
	struct tidep_bin bin;
	uint64_t all_pages;

	start(&bin, 1000, false);
	all_pages = ((uint64_t)bin.geometry.slots * bin.geometry.stride + page - 1) / page * page;
	for (int i = 0; i < 3; i++) {
		slab[i] = claim_slab(&bin);
		write_run(slab[i], 0, 1);
	}
	for (int i = 0; i < 3; i++) {
		memset(tidep_arena_slot_at(slab[i], 0), 0, 1000);
		release(&bin, slab[i], 0, bin.geometry.slots);
	}
	REQUIRE(bin.slabs == 1);
	REQUIRE(tidep_arena_bin_of(slab[0]) == &bin);
	REQUIRE(tidep_arena_bin_of(slab[1]) == NULL);
	REQUIRE(tidep_arena_bin_of(slab[2]) == NULL);
	REQUIRE(count_resident(tidep_arena_base_in(&tidep_arena_spaces[0], slab[1]),
			       bin.geometry.granules * TIDEP_GRANULE_BYTES) == 0);
	/* All its pages count, touched or not, until it is trimmed. */
	REQUIRE(tidep_arena_bin_committed(&bin) == all_pages);
	tidep_arena_bin_trim(&bin);
	REQUIRE(tidep_arena_bin_committed(&bin) == 0);
	REQUIRE(resident_bytes(&bin) == 0);
	tidep_arena_bin_fini(&bin);
}
END_TEST

START_TEST(a_bin_that_keeps_its_slabs_only_trims_them)
{
	struct tidep_granule *slab[3];
	struct tidep_bin bin;

	start(&bin, 1000, true);
	for (int i = 0; i < 3; i++) {
		slab[i] = claim_slab(&bin);
		write_run(slab[i], 0, bin.geometry.slots);
	}
	for (int i = 0; i < 3; i++)
		release(&bin, slab[i], 0, bin.geometry.slots);
	REQUIRE(bin.slabs == 3);
	for (int i = 0; i < 3; i++)
		REQUIRE(tidep_arena_bin_of(slab[i]) == &bin);
	/* The first that emptied stays committed, for the next claim. */
	REQUIRE(resident_bytes(&bin) == tidep_arena_bin_committed(&bin));
	REQUIRE(count_resident(tidep_arena_base_of(slab[1]), TIDEP_GRANULE_BYTES) == 0);
	tidep_arena_bin_fini(&bin);
}
END_TEST

START_TEST(words_of_a_slab_that_was_only_reserved_are_given_back)
{
	struct tidep_bin bin;
	size_t bytes;
	char *words;

	start(&bin, 16, false);
	REQUIRE(tidep_arena_bin_reserve(&bin, bin.geometry.slots) == 0);
	REQUIRE(bin.slabs == 1);
	for (unsigned list = 0; list < TIDEP_LISTS; list++)
		if (bin.lists[list] != NULL)
			tidep_arena_word_pages(bin.lists[list]->granule, bin.geometry.slots, &words,
					       &bytes);
	REQUIRE(bytes >= bin.geometry.slots * sizeof(tidep_word));
	REQUIRE(count_resident(words, bytes) == bytes / tidep_numa_page_bytes());
	tidep_arena_bin_fini(&bin);
	REQUIRE(count_resident(words, bytes) == 0);
}
END_TEST

/* Claims and releases at random; written slots are cleared, as the room below does. */
START_TEST(committed_bytes_are_what_the_kernel_says)
{
	static const size_t sizes[] = { 16, 128, 3000, 4096, 9000, 70000, 2 * MIB };
	uint64_t seed = 0xc0117;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		enum { HELD = 40 };
		struct tidep_run held[HELD] = { 0 };
		struct tidep_bin bin;

		start(&bin, sizes[i], false);
		for (unsigned step = 0; step < ROUNDS(1500); step++) {
			struct tidep_run *run = &held[next_random(&seed) % HELD];

			if (run->slots == 0) {
				*run = claim(&bin, sizes[i] < 65536 ? 64 : 1);
				REQUIRE(is_zero(tidep_arena_slot_at(run->granule, run->first),
						(size_t)run->slots * run->granule->stride));
				write_run(run->granule, run->first, run->slots);
			} else {
				for (uint32_t s = run->first; s < run->first + run->slots; s++)
					tidep_arena_bin_clear(&bin, run->granule, s,
							      next_random(&seed) % 4 > 0);
				tidep_arena_bin_release(&bin, run);
				run->slots = 0;
			}
			if (step % 50 == 0)
				tidep_arena_bin_trim(&bin);
		}
		tidep_arena_bin_trim(&bin);
		REQUIRE_MSG(resident_bytes(&bin) == tidep_arena_bin_committed(&bin),
			    "%zu bytes: %zu in memory, %llu committed", sizes[i],
			    resident_bytes(&bin),
			    (unsigned long long)tidep_arena_bin_committed(&bin));
		tidep_arena_bin_fini(&bin);
	}
}
END_TEST

START_TEST(reserved_slots_fault_in_nothing)
{
	static const size_t sizes[] = { 16, 100, 4096, 5000, 70000, 3 * MIB };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t wanted = sizes[i] > MIB ? 3 : 12 * MIB / sizes[i] % 1500 + 3;
		struct tidep_granule *granule;
		struct tidep_bin bin;
		size_t before;

		start(&bin, sizes[i], false);
		/* Some are in use, with a hole between them. */
		granule = claim(&bin, 1).granule;
		claim(&bin, 7);
		if (bin.geometry.slots > 1)
			release(&bin, granule, 0, 1);
		REQUIRE(tidep_arena_bin_reserve(&bin, wanted) == 0);
		before = resident_bytes(&bin);
		REQUIRE(before <= tidep_arena_bin_committed(&bin));
		for (size_t n = 0; n < wanted;) {
			uint32_t max = wanted - n < 64 ? (uint32_t)(wanted - n) : 64;
			struct tidep_run run = claim(&bin, max);

			write_run(run.granule, run.first, run.slots);
			atomic_store(&run.granule->words[run.first], 0);
			n += run.slots;
		}
		REQUIRE(resident_bytes(&bin) == before);
		tidep_arena_bin_fini(&bin);
	}
}
END_TEST

START_TEST(a_reserve_that_cannot_be_is_refused)
{
	struct tidep_bin bin;
	unsigned refused = 0;
	int64_t n = 0;
	int err;

	start(&bin, 4096, false);
	REQUIRE(tidep_arena_bin_reserve(&bin, SIZE_MAX) == -ENOMEM);
	REQUIRE(tidep_arena_bin_reserve(&bin, SIZE_MAX / 4096) == -ENOMEM);
	REQUIRE(tidep_arena_bin_reserve(&bin, tidep_numa_memory_bytes() / 4096 + 1) == -ENOMEM);
	REQUIRE(tidep_arena_bin_committed(&bin) == 0);
	REQUIRE(tidep_arena_bin_reserve(&bin, 0) == 0);
	do {
		atomic_store(&tidep_numa_fault_in, ++n);
		err = tidep_arena_bin_reserve(&bin, 10);
		REQUIRE(err == 0 || err == -ENOMEM);
		refused += err != 0;
		/* Until nobody asks so often. */
	} while (atomic_load(&tidep_numa_fault_in) < 0);
	atomic_store(&tidep_numa_fault_in, 0);
	REQUIRE(err == 0);
	REQUIRE(refused >= 2);
	/* The slab is there now; what is left are the pages of objects and of words. */
	for (n = 1; n <= 2; n++) {
		atomic_store(&tidep_numa_fault_in, n);
		REQUIRE(tidep_arena_bin_reserve(&bin, 10) == -ENOMEM);
	}
	atomic_store(&tidep_numa_fault_in, 0);
	REQUIRE(tidep_arena_bin_reserve(&bin, 10) == 0);
	tidep_arena_bin_fini(&bin);
}
END_TEST

START_TEST(a_claim_that_is_refused_is_nothing)
{
	struct tidep_run run;
	struct tidep_bin bin;

	start(&bin, 64, false);
	for (int64_t n = 1; n <= 2; n++) {
		atomic_store(&tidep_numa_fault_in, n);
		tidep_arena_bin_claim(&bin, 10, &run);
		REQUIRE(run.slots == 0);
		REQUIRE(bin.slabs == 0);
	}
	atomic_store(&tidep_numa_fault_in, 0);
	claim(&bin, 10);
	tidep_arena_bin_fini(&bin);
}
END_TEST

/* Cleared by hand or given back: zero, and the neighbours keep what they have. */
START_TEST(a_cleared_slot_is_zero_and_alone)
{
	static const struct {
		size_t bytes;
		bool is_used_again;
	} cases[] = {
		{ 16, true },       { 16, false },     { 4096, true },     { 4096, false },
		{ 5000, true },     { 5000, false },   { 9000, false },    { 70000, true },
		{ 70000, false },   { MIB, true },     { MIB, false },     { MIB + 100, true },
		{ MIB - 64, true }, { 3 * MIB, true }, { 64 * MIB, true }, { 8192, false },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t page = tidep_numa_page_bytes();
		struct tidep_granule *granule;
		struct tidep_bin bin;
		uint32_t n, slot;
		uint64_t committed;

		start(&bin, cases[i].bytes, false);
		granule = claim_slab(&bin);
		n = bin.geometry.slots;
		slot = n / 2;
		write_run(granule, 0, n);
		committed = tidep_arena_bin_committed(&bin);
		tidep_arena_bin_clear(&bin, granule, slot, cases[i].is_used_again);
		REQUIRE(resident_bytes(&bin) == tidep_arena_bin_committed(&bin));
		REQUIRE(is_zero(tidep_arena_slot_at(granule, slot), granule->stride));
		for (uint32_t s = 0; s < n; s++) {
			unsigned char *at = tidep_arena_slot_at(granule, s);

			if (s == slot)
				continue;
			REQUIRE(at[0] == 0x6b);
			REQUIRE(at[granule->stride - 1] == 0x6b);
		}
		/* What will hardly be used again, or is large, has gone back but for its ends. */
		if (cases[i].bytes >= (cases[i].is_used_again ? MIB : page))
			REQUIRE(committed - tidep_arena_bin_committed(&bin) + 2 * page >=
				cases[i].bytes);
		else
			REQUIRE(committed == tidep_arena_bin_committed(&bin));
		tidep_arena_bin_fini(&bin);
	}
}
END_TEST

/* ---- retirement --------------------------------------------------------------- */

/* A life of the slot at the front of the run, its last one if the test makes it so. */
static void
live_to_the_end(struct tidep_bin *bin, const struct tidep_run *run)
{
	tidep_word *word = &run->granule->words[run->first];
	uint64_t step = tidep_arena_put_step(bin->geometry.index_bits);
	uint64_t was;

	tidep_arena_slot_birth(word, run->granule->first_life + run->first);
#ifndef TIDEP_DEBUG
	/* There are too many to wait for: this is the last one but two. */
	atomic_store(word, (bin->geometry.end_life - (UINT64_C(2) << bin->geometry.index_bits) +
			    run->first) << TIDEP_LIFE_SHIFT |
				   TIDEP_LIVE);
#endif
	for (;;) {
		bool is_last;

		*(char *)tidep_arena_slot_at(run->granule, run->first) = 1;
		was = atomic_load(word);
		is_last = tidep_arena_life(was) >= bin->geometry.end_life;
		REQUIRE(tidep_arena_can_put(was, bin->geometry.end_life) == !is_last);
		REQUIRE(tidep_arena_slot_put(word, was, step));
		if (is_last)
			break;
		tidep_arena_slot_issue(word, atomic_load(word));
	}
	REQUIRE(tidep_arena_life(atomic_load(word)) >= bin->geometry.used_up);
	tidep_arena_bin_clear(bin, run->granule, run->first, false);
	tidep_arena_slot_retire(word);
	tidep_arena_bin_retire(bin, run->granule);
}

/*
 * A thread that does nothing else, through the lives of some slabs: what stays
 * committed is never more than one slab has, and a number that is used up is
 * never cut again.
 */
START_TEST(retired_slots_strand_no_memory)
{
	static const size_t sizes[] = { 16, 64, 512, 4096, 65536, 2 * MIB };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct tidep_granule *met[8] = { NULL };
		unsigned numbers = 0;
		struct tidep_bin bin;
		uint64_t slab_bytes;

		start(&bin, sizes[i], false);
		slab_bytes = bin.geometry.granules * TIDEP_GRANULE_BYTES;
		while (numbers < sizeof(met) / sizeof(met[0])) {
			struct tidep_run run = claim(&bin, 1);

			if (numbers == 0 || run.granule != met[numbers - 1]) {
				for (unsigned n = 0; n < numbers; n++)
					REQUIRE(run.granule != met[n]);
				met[numbers++] = run.granule;
			}
			live_to_the_end(&bin, &run);
			REQUIRE(bin.slabs <= 1);
			REQUIRE(tidep_arena_bin_committed(&bin) <= slab_bytes);
		}
		tidep_arena_bin_fini(&bin);
	}
}
END_TEST

int
main(void)
{
	return run_suite("arena_bin", (const TTest *const[]){
					      slots_come_from_the_fullest_slab,
					      of_empty_slabs_one_is_kept,
					      a_bin_that_keeps_its_slabs_only_trims_them,
					      words_of_a_slab_that_was_only_reserved_are_given_back,
					      committed_bytes_are_what_the_kernel_says,
					      reserved_slots_fault_in_nothing,
					      a_reserve_that_cannot_be_is_refused,
					      a_claim_that_is_refused_is_nothing,
					      a_cleared_slot_is_zero_and_alone,
					      retired_slots_strand_no_memory,
					      NULL,
				      });
}
