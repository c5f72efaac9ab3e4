/* SPDX-License-Identifier: MIT */
/*
 * Depots, and the magazines in them.
 */
#include "config.h"

#include "pool/depot.h"

#include <stddef.h>
#include <string.h>

#include "numa/here.h"
#include "numa/topo.h"
#include "pool/pool.h"

/* ---- magazines ------------------------------------------------------------ */

#define MAGAZINE_ALIGN 64

static struct tidep_bin magazine_bins[TIDEP_NODES_MAX][TIDEP_MAGAZINE_CLASSES];

static_assert(offsetof(struct tidep_depot, bin) == 0, "a depot is found by its bin");

void
tidep_pool_magazines_init(unsigned nodes)
{
	for (unsigned node = 0; node < nodes; node++) {
		for (unsigned class = 0; class < TIDEP_MAGAZINE_CLASSES; class ++) {
			struct tidep_geometry geometry;
			size_t capacity = (size_t)TIDEP_MAGAZINE_OBJS_MIN << class;

			tidep_arena_geometry(&geometry,
					     sizeof(struct tidep_magazine) +
						     capacity * sizeof(struct tidep_entry),
					     MAGAZINE_ALIGN);
			tidep_arena_bin_init(&magazine_bins[node][class], &geometry, node, true);
		}
	}
}

struct tidep_magazine *
tidep_pool_magazine_create(unsigned node, unsigned class)
{
	struct tidep_magazine *magazine;
	struct tidep_run run;

	tidep_arena_bin_claim(&magazine_bins[node][class], 1, &run);
	if (run.slots == 0)
		return NULL;
	magazine = tidep_arena_slot_at(run.granule, run.first);
	/* `link` is left alone: a late pop may be reading it. */
	magazine->n = 0;
	magazine->capacity = (uint32_t)TIDEP_MAGAZINE_OBJS_MIN << class;
	magazine->class = class;
	magazine->node = node;
	return magazine;
}

void
tidep_pool_magazine_destroy(struct tidep_magazine *magazine)
{
	struct tidep_run run = { .granule = tidep_arena_granule_of(magazine), .slots = 1 };

	/*
	 * The slot's bytes do not read zero; nobody asks that of a magazine. A
	 * late pop may still read the link, so its bin keeps its slabs.
	 */
	run.first = tidep_arena_slot_around(
		run.granule, (uint64_t)((char *)magazine - tidep_arena_base_of(run.granule)));
	tidep_arena_bin_release(&magazine_bins[magazine->node][magazine->class], &run);
}

uint64_t
tidep_pool_magazine_bytes(void)
{
	uint64_t bytes = 0;

	for (unsigned node = 0; node < tidep_numa_topo.nodes; node++)
		for (unsigned class = 0; class < TIDEP_MAGAZINE_CLASSES; class ++)
			bytes += tidep_arena_bin_committed(&magazine_bins[node][class]);
	return bytes;
}

/* ---- the two stacks ------------------------------------------------------- */

/*
 * A top, and a link, is {tag : 30, number : 34}; the number is the magazine's
 * offset over all spaces in units of its alignment, plus one; 0 is the end.
 */
#define NUMBER_BITS 34
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

static_assert(((uint64_t)TIDEP_NUMBERS_MAX << TIDEP_GRANULE_SHIFT) / MAGAZINE_ALIGN < NUMBER_MASK,
	      "every magazine has a number");

static uint64_t
number_of(const struct tidep_magazine *magazine)
{
	return tidep_arena_offset_of(magazine) / MAGAZINE_ALIGN + 1;
}

static struct tidep_magazine *
magazine_at(uint64_t number)
{
	return tidep_arena_at((number - 1) * MAGAZINE_ALIGN);
}

static void
push(_Atomic uint64_t *top, struct tidep_magazine *magazine)
{
	uint64_t number = number_of(magazine);
	uint64_t was = atomic_load_explicit(top, memory_order_relaxed);
	uint64_t now;

	do {
		atomic_store_explicit(&magazine->link, was & NUMBER_MASK, memory_order_relaxed);
		now = (was & ~NUMBER_MASK) | number;
		/* Release: pairs with the acquire in pop(). */
	} while (!atomic_compare_exchange_weak_explicit(top, &was, now, memory_order_release,
							memory_order_relaxed));
}

static struct tidep_magazine *
pop(_Atomic uint64_t *top, _Atomic uint64_t *contended)
{
	uint64_t was = atomic_load_explicit(top, memory_order_acquire);

	while ((was & NUMBER_MASK) != 0) {
		struct tidep_magazine *magazine = magazine_at(was & NUMBER_MASK);
		uint64_t link = atomic_load_explicit(&magazine->link, memory_order_relaxed);
		uint64_t now = ((was & ~NUMBER_MASK) + NUMBER_MASK + 1) | (link & NUMBER_MASK);

		/* Acquire: pairs with the release in push(). */
		if (atomic_compare_exchange_weak_explicit(top, &was, now, memory_order_acquire,
							  memory_order_acquire))
			return magazine;
		if (contended != NULL)
			atomic_fetch_add_explicit(contended, 1, memory_order_relaxed);
	}
	return NULL;
}

/* ---- depots --------------------------------------------------------------- */

void
tidep_pool_depot_init(struct tidep_depot *depot, struct tide_pool *pool, unsigned node,
		      const struct tidep_geometry *geometry, unsigned placement)
{
	tidep_arena_bin_init(&depot->bin, geometry, placement, false);
	depot->bin.is_guarded = true;
	depot->pool = pool;
	depot->node = node;
	depot->loose = NULL;
	atomic_init(&depot->loose_objs, 0);
	atomic_init(&depot->full, 0);
	atomic_init(&depot->empty, 0);
	atomic_init(&depot->contended, 0);
	atomic_init(&depot->grown_at, 0);
}

void
tidep_pool_depot_fini(struct tidep_depot *depot)
{
	struct tidep_magazine *magazine;

	while ((magazine = pop(&depot->full, NULL)) != NULL)
		tidep_pool_magazine_destroy(magazine);
	while ((magazine = tidep_pool_depot_pop_empty(depot)) != NULL)
		tidep_pool_magazine_destroy(magazine);
	if (depot->loose != NULL)
		tidep_pool_magazine_destroy(depot->loose);
	tidep_arena_bin_fini(&depot->bin);
}

struct tidep_magazine *
tidep_pool_depot_pop_empty(struct tidep_depot *depot)
{
	return pop(&depot->empty, NULL);
}

/*
 * Where a new magazine is to lie: with its thread, which is on the depot's node if
 * the pool has one for each, and may be anywhere if all nodes share one.
 */
static unsigned
magazine_node(const struct tidep_depot *depot)
{
	return depot->pool->depots > 1 ? depot->node : tidep_numa_here();
}

struct tidep_magazine *
tidep_pool_depot_take_empty(struct tidep_depot *depot)
{
	unsigned class = tidep_pool_magazine_class(depot->pool);
	struct tidep_magazine *magazine;

	while ((magazine = tidep_pool_depot_pop_empty(depot)) != NULL) {
		if (magazine->class == class)
			return magazine;
		tidep_pool_magazine_destroy(magazine);
	}
	return tidep_pool_magazine_create(magazine_node(depot), class);
}

/*
 * A quarter of the loose objects, or one; NULL: there is none. All of them would be
 * too many: where threads come and go, one that needs a single object would sit on
 * all that its predecessors left, and the next one make another.
 */
static struct tidep_magazine *
share_loose_locked(struct tidep_depot *depot)
{
	struct tidep_magazine *loose = depot->loose;
	struct tidep_magazine *share = NULL;
	uint32_t n;

	if (loose == NULL || loose->n == 0)
		return NULL;
	n = loose->n < 8 ? 1 : loose->n / 4;
	if (n < loose->n)
		share = tidep_pool_depot_take_empty(depot);
	if (share == NULL) {
		/* The only one; or there is no memory to share them out. */
		depot->loose = NULL;
		atomic_store_explicit(&depot->loose_objs, 0, memory_order_relaxed);
		return loose;
	}
	share->n = n;
	loose->n -= n;
	memcpy(share->at, &loose->at[loose->n], n * sizeof(share->at[0]));
	atomic_store_explicit(&depot->loose_objs, loose->n, memory_order_relaxed);
	return share;
}

struct tidep_magazine *
tidep_pool_depot_pop_full(struct tidep_depot *depot)
{
	struct tidep_magazine *magazine = pop(&depot->full, &depot->contended);

	if (magazine != NULL || atomic_load_explicit(&depot->loose_objs, memory_order_relaxed) == 0)
		return magazine;
	pthread_mutex_lock(&depot->bin.lock);
	magazine = share_loose_locked(depot);
	pthread_mutex_unlock(&depot->bin.lock);
	return magazine;
}

void
tidep_pool_depot_push(struct tidep_depot *depot, struct tidep_magazine *magazine)
{
	if (magazine->n > 0)
		push(&depot->full, magazine);
	else if (magazine->class == tidep_pool_magazine_class(depot->pool))
		push(&depot->empty, magazine);
	else
		tidep_pool_magazine_destroy(magazine);
}

static bool
put_one_locked(struct tidep_depot *depot, struct tidep_entry entry)
{
	struct tidep_magazine *loose = depot->loose;

	if (loose == NULL) {
		loose = tidep_pool_depot_take_empty(depot);
		if (loose == NULL)
			return false;
		depot->loose = loose;
	}
	loose->at[loose->n++] = entry;
	if (loose->n == loose->capacity) {
		push(&depot->full, loose);
		depot->loose = NULL;
	}
	atomic_store_explicit(&depot->loose_objs, depot->loose == NULL ? 0 : loose->n,
			      memory_order_relaxed);
	return true;
}

bool
tidep_pool_depot_put_one(struct tidep_depot *depot, struct tidep_entry entry)
{
	bool done;

	pthread_mutex_lock(&depot->bin.lock);
	done = put_one_locked(depot, entry);
	pthread_mutex_unlock(&depot->bin.lock);
	return done;
}

void
tidep_pool_depot_put_partial(struct tidep_depot *depot, struct tidep_magazine *magazine)
{
	if (magazine == NULL)
		return;
	if (magazine->n > 0 && magazine->n < magazine->capacity) {
		pthread_mutex_lock(&depot->bin.lock);
		if (depot->loose == NULL) {
			depot->loose = magazine;
			atomic_store_explicit(&depot->loose_objs, magazine->n,
					      memory_order_relaxed);
			magazine = NULL;
		}
		while (magazine != NULL && magazine->n > 0 &&
		       put_one_locked(depot, magazine->at[magazine->n - 1]))
			magazine->n--;
		pthread_mutex_unlock(&depot->bin.lock);
	}
	/* Empty or full now, or there was no memory to join it: push it as it is. */
	if (magazine != NULL)
		tidep_pool_depot_push(depot, magazine);
}

bool
tidep_pool_depot_get_one(struct tidep_depot *depot, struct tidep_entry *entry)
{
	struct tidep_magazine *loose;
	bool found = false;

	pthread_mutex_lock(&depot->bin.lock);
	loose = depot->loose;
	if (loose == NULL || loose->n == 0) {
		struct tidep_magazine *full = pop(&depot->full, NULL);

		if (full != NULL) {
			if (loose != NULL)
				push(&depot->empty, loose);
			depot->loose = loose = full;
		}
	}
	if (loose != NULL && loose->n > 0) {
		*entry = loose->at[--loose->n];
		atomic_store_explicit(&depot->loose_objs, loose->n, memory_order_relaxed);
		found = true;
	}
	pthread_mutex_unlock(&depot->bin.lock);
	return found;
}

static void
each_entry(const struct tidep_magazine *magazine,
	   void (*fn)(const struct tidep_entry *entry, void *arg), void *arg)
{
	for (uint32_t i = 0; i < magazine->n; i++)
		fn(&magazine->at[i], arg);
}

void
tidep_pool_depot_each(struct tidep_depot *depot,
		      void (*fn)(const struct tidep_entry *entry, void *arg), void *arg)
{
	uint64_t number;

	pthread_mutex_lock(&depot->bin.lock);
	if (depot->loose != NULL)
		each_entry(depot->loose, fn, arg);
	number = atomic_load_explicit(&depot->full, memory_order_acquire) & NUMBER_MASK;
	while (number != 0) {
		const struct tidep_magazine *magazine = magazine_at(number);

		each_entry(magazine, fn, arg);
		number = atomic_load_explicit(&magazine->link, memory_order_relaxed);
	}
	pthread_mutex_unlock(&depot->bin.lock);
}
