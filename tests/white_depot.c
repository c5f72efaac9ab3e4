/* SPDX-License-Identifier: MIT */
/*
 * pool/depot: magazines on two lock-free stacks, and the loose one. Entries are
 * numbers here, not objects: a depot does not look at them.
 */
#include "config.h"

#include "pool/depot.h"

#include <pthread.h>

#include "numa/fault.h"
#include "numa/record.h"
#include "pool/pool.h"
#include "rooms.h"

#define THREADS     3
#define CLASS       2u /* magazines of 8 */
#define CAPACITY    (TIDEP_MAGAZINE_OBJS_MIN << CLASS)
#define ENTRIES_MAX 4096

static struct tide_pool *pool;
static struct tidep_depot *depot;

static void
start(void)
{
	struct tidep_geometry geometry;

	setenv("TIDENUMA", "off", 1);
	ck_assert_int_eq(tide_init(), 0);
	pool = tidep_numa_record_alloc(sizeof(*pool) + sizeof(pool->depot[0]));
	ck_assert_ptr_nonnull(pool);
	atomic_store(&pool->class, CLASS);
	pool->class_max = CLASS + 1;
	depot = &pool->depot[0];
	tidep_arena_geometry(&geometry, 64, 64);
	tidep_pool_depot_init(depot, pool, 0, &geometry, 0);
}

static struct tidep_entry
entry_of(uintptr_t number)
{
	return (struct tidep_entry){ .obj = (void *)(number + 1) };
}

static uintptr_t
number_of(struct tidep_entry entry)
{
	return (uintptr_t)entry.obj - 1;
}

/* A magazine of n entries from a number on. */
static struct tidep_magazine *
make(uint32_t n, uintptr_t from)
{
	struct tidep_magazine *magazine = tidep_pool_magazine_create(0, CLASS);

	ck_assert_ptr_nonnull(magazine);
	ck_assert_uint_eq(magazine->n, 0);
	ck_assert_uint_eq(magazine->capacity, CAPACITY);
	for (uint32_t i = 0; i < n; i++)
		magazine->at[magazine->n++] = entry_of(from + i);
	return magazine;
}

static unsigned times_seen[ENTRIES_MAX];

static void
see(const struct tidep_entry *entry, void *arg)
{
	(void)arg;
	REQUIRE(number_of(*entry) < ENTRIES_MAX);
	times_seen[number_of(*entry)]++;
}

/* Of the entries 0 .. n-1 each is in the depot once, and no other. */
static void
check_whole(unsigned n)
{
	memset(times_seen, 0, sizeof(times_seen));
	tidep_pool_depot_each(depot, see, NULL);
	for (unsigned i = 0; i < ENTRIES_MAX; i++)
		REQUIRE_MSG(times_seen[i] == (i < n), "entry %u is there %u times", i,
			    times_seen[i]);
}

START_TEST(nothing_is_in_a_new_depot)
{
	struct tidep_entry entry;

	start();
	ck_assert_ptr_null(tidep_pool_depot_pop_full(depot));
	ck_assert_ptr_null(tidep_pool_depot_pop_empty(depot));
	ck_assert(!tidep_pool_depot_get_one(depot, &entry));
	check_whole(0);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(a_stack_gives_back_the_last_one_first)
{
	struct tidep_magazine *magazine[3];

	start();
	for (uint32_t i = 0; i < 3; i++) {
		magazine[i] = make(CAPACITY, i * CAPACITY);
		tidep_pool_depot_push(depot, magazine[i]);
	}
	check_whole(3 * CAPACITY);
	for (int i = 2; i >= 0; i--) {
		ck_assert_ptr_eq(tidep_pool_depot_pop_full(depot), magazine[i]);
		ck_assert_uint_eq(magazine[i]->n, CAPACITY);
		ck_assert_uint_eq(number_of(magazine[i]->at[0]), (unsigned)i * CAPACITY);
		magazine[i]->n = 0;
	}
	ck_assert_ptr_null(tidep_pool_depot_pop_full(depot));
	/* The same with empty ones, which are on a stack of their own. */
	for (uint32_t i = 0; i < 3; i++)
		tidep_pool_depot_push(depot, magazine[i]);
	ck_assert_ptr_null(tidep_pool_depot_pop_full(depot));
	ck_assert_ptr_eq(tidep_pool_depot_take_empty(depot), magazine[2]);
	ck_assert_ptr_eq(tidep_pool_depot_pop_empty(depot), magazine[1]);
	tidep_pool_magazine_destroy(magazine[1]);
	tidep_pool_magazine_destroy(magazine[2]);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(empty_magazines_of_another_size_go)
{
	struct tidep_magazine *magazine, *full;

	start();
	full = make(CAPACITY, 0);
	tidep_pool_depot_push(depot, make(0, 0));
	tidep_pool_depot_push(depot, full);
	atomic_store(&pool->class, CLASS + 1);
	/* One that arrives, one that is found; not one that holds something. */
	tidep_pool_depot_push(depot, make(0, 0));
	magazine = tidep_pool_depot_take_empty(depot);
	ck_assert_ptr_nonnull(magazine);
	ck_assert_uint_eq(magazine->capacity, 2 * CAPACITY);
	ck_assert_ptr_null(tidep_pool_depot_pop_empty(depot));
	ck_assert_ptr_eq(tidep_pool_depot_pop_full(depot), full);
	tidep_pool_magazine_destroy(magazine);
	tidep_pool_magazine_destroy(full);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(one_at_a_time_fills_magazines)
{
	enum { MANY = 10 * CAPACITY + 3 };
	struct tidep_entry entry;
	struct tidep_magazine *magazine;

	start();
	for (unsigned i = 0; i < MANY; i++)
		ck_assert(tidep_pool_depot_put_one(depot, entry_of(i)));
	check_whole(MANY);
	for (unsigned i = 0; i < 10; i++) {
		magazine = tidep_pool_depot_pop_full(depot);
		ck_assert_ptr_nonnull(magazine);
		ck_assert_uint_eq(magazine->n, CAPACITY);
		tidep_pool_depot_push(depot, magazine);
	}
	memset(times_seen, 0, sizeof(times_seen));
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert(tidep_pool_depot_get_one(depot, &entry));
		see(&entry, NULL);
	}
	ck_assert(!tidep_pool_depot_get_one(depot, &entry));
	for (unsigned i = 0; i < MANY; i++)
		ck_assert_uint_eq(times_seen[i], 1);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(an_emptied_loose_one_is_kept_for_others)
{
	struct tidep_magazine *loose;
	struct tidep_entry entry;

	start();
	ck_assert(tidep_pool_depot_put_one(depot, entry_of(0)));
	loose = depot->loose;
	ck_assert(tidep_pool_depot_get_one(depot, &entry));
	tidep_pool_depot_push(depot, make(CAPACITY, 0));
	ck_assert(tidep_pool_depot_get_one(depot, &entry));
	ck_assert_ptr_ne(depot->loose, loose);
	ck_assert_ptr_eq(tidep_pool_depot_pop_empty(depot), loose);
	tidep_pool_magazine_destroy(loose);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(the_loose_one_is_popped_when_there_is_no_other)
{
	struct tidep_magazine *magazine;

	start();
	ck_assert(tidep_pool_depot_put_one(depot, entry_of(0)));
	magazine = tidep_pool_depot_pop_full(depot);
	ck_assert_ptr_nonnull(magazine);
	ck_assert_uint_eq(magazine->n, 1);
	ck_assert_ptr_null(tidep_pool_depot_pop_full(depot));
	tidep_pool_magazine_destroy(magazine);
	tidep_pool_depot_fini(depot);
}
END_TEST

/* Whoever comes first leaves the most of them to the next. */
START_TEST(loose_ones_are_shared)
{
	struct tidep_magazine *magazine;
	uint32_t left = CAPACITY - 1;

	start();
	for (uint32_t i = 0; i < left; i++)
		ck_assert(tidep_pool_depot_put_one(depot, entry_of(i)));
	while (left > 0) {
		magazine = tidep_pool_depot_pop_full(depot);
		ck_assert_ptr_nonnull(magazine);
		ck_assert_uint_eq(magazine->n, left < 8 ? 1 : left / 4);
		left -= magazine->n;
		for (uint32_t i = 0; i < magazine->n; i++)
			ck_assert_ptr_eq(magazine->at[i].obj, entry_of(left + i).obj);
		ck_assert_uint_eq(atomic_load(&depot->loose_objs), left);
		tidep_pool_magazine_destroy(magazine);
	}
	ck_assert_ptr_null(tidep_pool_depot_pop_full(depot));
	tidep_pool_depot_fini(depot);
}
END_TEST

/* Partly filled ones of every size are joined: all but one are full afterwards. */
START_TEST(partial_magazines_are_joined)
{
	struct tidep_magazine *magazine;
	unsigned entries = 0;
	unsigned partial = 0;
	unsigned found = 0;

	start();
	tidep_pool_depot_put_partial(depot, NULL);
	for (int round = 0; round < 5; round++) {
		for (uint32_t n = 0; n <= CAPACITY; n++) {
			tidep_pool_depot_put_partial(depot, make(n, entries));
			entries += n;
			check_whole(entries);
		}
	}
	while ((magazine = tidep_pool_depot_pop_full(depot)) != NULL) {
		ck_assert_uint_gt(magazine->n, 0);
		partial += magazine->n < CAPACITY ? magazine->n : 0; /* loose, and shared out */
		found += magazine->n;
		tidep_pool_magazine_destroy(magazine);
	}
	ck_assert_uint_eq(found, entries);
	ck_assert_uint_lt(partial, CAPACITY);
	tidep_pool_depot_fini(depot);
}
END_TEST

START_TEST(without_memory_one_is_refused_and_a_partial_one_kept)
{
	int64_t refused = 0;

	start();
	for (int64_t n = 1; n <= 2; n++) {
		atomic_store(&tidep_numa_fault_in, n);
		refused += !tidep_pool_depot_put_one(depot, entry_of(0));
		check_whole(0);
	}
	ck_assert_int_eq(refused, 2);
	atomic_store(&tidep_numa_fault_in, 0);
	/* A magazine overflows the loose one, and the next cannot be had. */
	tidep_pool_depot_put_partial(depot, make(CAPACITY - 1, 0));
	struct tidep_magazine *more = make(3, CAPACITY - 1);

	atomic_store(&tidep_numa_fault_in, 1);
	tidep_pool_depot_put_partial(depot, more);
	atomic_store(&tidep_numa_fault_in, 0);
	check_whole(CAPACITY + 2);
	tidep_pool_depot_fini(depot);
}
END_TEST

/* ---- many threads -------------------------------------------------------------- */

static _Atomic unsigned holders[ENTRIES_MAX];
static unsigned rounds;

static void
take_entry(struct tidep_entry entry)
{
	if (atomic_exchange_explicit(&holders[number_of(entry)], 1, memory_order_relaxed) != 0)
		ck_abort_msg("entry %u is in two hands", (unsigned)number_of(entry));
}

static void
drop_entry(struct tidep_entry entry)
{
	atomic_store_explicit(&holders[number_of(entry)], 0, memory_order_relaxed);
}

/*
 * Two magazines popped and pushed back the other way round, of very few: the
 * top that was seen first is soon there again, above another one (ABA).
 */
static void *
swap_tops(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < rounds; i++) {
		struct tidep_magazine *a = tidep_pool_depot_pop_full(depot);
		struct tidep_magazine *b = tidep_pool_depot_pop_full(depot);

		for (uint32_t e = 0; a != NULL && e < a->n; e++)
			take_entry(a->at[e]);
		for (uint32_t e = 0; b != NULL && e < b->n; e++)
			take_entry(b->at[e]);
		for (uint32_t e = 0; a != NULL && e < a->n; e++)
			drop_entry(a->at[e]);
		for (uint32_t e = 0; b != NULL && e < b->n; e++)
			drop_entry(b->at[e]);
		if (a != NULL)
			tidep_pool_depot_push(depot, a);
		if (b != NULL)
			tidep_pool_depot_push(depot, b);
	}
	return NULL;
}

static void
run_threads(void *(*fn)(void *arg))
{
	pthread_t threads[THREADS];
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, (void *)i), 0);
	for (i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}

START_TEST(a_top_that_left_and_came_back_is_another_one)
{
	enum { MAGAZINES = 4 };
	uint64_t top, again;

	start();
	for (uint32_t i = 0; i < MAGAZINES; i++)
		tidep_pool_depot_push(depot, make(CAPACITY, i * CAPACITY));
	for (int i = 0; i < 10; i++) {
		struct tidep_magazine *magazine;

		top = atomic_load(&depot->full);
		magazine = tidep_pool_depot_pop_full(depot);
		ck_assert_ptr_nonnull(magazine);
		tidep_pool_depot_push(depot, magazine);
		again = atomic_load(&depot->full);
		/* The same magazine on the same ones, by another tag. */
		ck_assert_uint_ne(again, top);
		ck_assert_uint_eq(again << 30, top << 30);
	}
	rounds = ROUNDS(200000);
	run_threads(swap_tops);
	check_whole(MAGAZINES * CAPACITY);
	tidep_pool_depot_fini(depot);
}
END_TEST

/* Every call there is, in a mixture, by threads that keep entries for a while. */
static void *
mix(void *arg)
{
	uint64_t seed = 0xdeb07 + (uintptr_t)arg;
	struct tidep_entry kept[64];
	unsigned n = 0;

	for (unsigned i = 0; i < rounds; i++) {
		struct tidep_magazine *magazine;
		struct tidep_entry entry;

		switch (next_random(&seed) % 5) {
		case 0:
			if (n < 64 && tidep_pool_depot_get_one(depot, &entry)) {
				take_entry(entry);
				kept[n++] = entry;
			}
			break;
		case 1:
			if (n > 0) {
				drop_entry(kept[n - 1]);
				if (tidep_pool_depot_put_one(depot, kept[n - 1]))
					n--;
			}
			break;
		case 2:
			magazine = tidep_pool_depot_pop_full(depot);
			while (magazine != NULL && magazine->n > 0 && n < 64 &&
			       next_random(&seed) % 3 != 0) {
				kept[n] = magazine->at[--magazine->n];
				take_entry(kept[n++]);
			}
			if (magazine != NULL)
				tidep_pool_depot_put_partial(depot, magazine);
			break;
		case 3:
			magazine = tidep_pool_depot_take_empty(depot);
			REQUIRE(magazine != NULL && magazine->n == 0);
			while (n > 0 && magazine->n < magazine->capacity &&
			       next_random(&seed) % 4 != 0) {
				drop_entry(kept[--n]);
				magazine->at[magazine->n++] = kept[n];
			}
			tidep_pool_depot_put_partial(depot, magazine);
			break;
		default:
			/* Magazines grow and shrink while they are about. */
			if (i % 100 == 0)
				atomic_store_explicit(&pool->class, CLASS + i / 100 % 2,
						      memory_order_relaxed);
			break;
		}
	}
	while (n > 0) {
		drop_entry(kept[--n]);
		REQUIRE(tidep_pool_depot_put_one(depot, kept[n]));
	}
	return NULL;
}

START_TEST(nothing_is_lost_and_nothing_is_twice)
{
	enum { MANY = 100 };

	start();
	for (unsigned i = 0; i < MANY; i++)
		ck_assert(tidep_pool_depot_put_one(depot, entry_of(i)));
	rounds = ROUNDS(100000);
	run_threads(mix);
	check_whole(MANY);
	tidep_pool_depot_fini(depot);
}
END_TEST

int
main(void)
{
	return run_suite("white_depot",
			 (const TTest *const[]){
				 nothing_is_in_a_new_depot,
				 a_stack_gives_back_the_last_one_first,
				 empty_magazines_of_another_size_go,
				 one_at_a_time_fills_magazines,
				 an_emptied_loose_one_is_kept_for_others,
				 the_loose_one_is_popped_when_there_is_no_other,
				 loose_ones_are_shared,
				 partial_magazines_are_joined,
				 without_memory_one_is_refused_and_a_partial_one_kept,
				 a_top_that_left_and_came_back_is_another_one,
				 nothing_is_lost_and_nothing_is_twice,
				 NULL,
			 });
}
