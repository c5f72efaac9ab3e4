/* SPDX-License-Identifier: MIT */
/*
 * Many threads over one table of refs: they get objects, publish their refs, pin
 * what others published, put it by ref or, while they have it pinned, by pointer,
 * discard it, walk over all of it. Every eight bytes of an object are stamped with
 * the number of its life before its ref is published; nobody writes to it then, so
 * whoever has it pinned must find just that life's stamp in all of it, put or not,
 * until the unpin. That finds an object with two owners, one that was reset or
 * handed out while pinned, and a stale ref that resolved.
 *
 *     put began before a look | the ref may be dead     flag `begun`
 *     put ended before a pin  | the pin must fail       flag `ended`
 *
 * Between rounds all pools are destroyed and created anew with other sizes, in the
 * same addresses; within a round whole slabs are emptied, and go from pool to pool
 * under the pins of those who still ask for what was in them.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <tide.h>

#include "stress.h"

#define THREADS    16
#define OPS        (12000u / STRESS_SLOWDOWN)
#define ROUNDS     8
#define POOLS      3
#define TABLE      64
#define LIVES_MAX  (1u << 22)
#define REMEMBERED 512
#define OWN        24 /* objects a thread never publishes */
#define BURST      700

typedef _Atomic uint64_t word;

struct life {
	_Atomic tide_ref ref;
	_Atomic uint32_t pool;
	_Atomic uint32_t puts; /* that succeeded */
	_Atomic bool written;  /* its first owner will not write to it any more */
	_Atomic bool begun, ended;
};

static struct life *lives;
static _Atomic uint32_t lives_n = 1; /* 0 is no life */
static _Atomic uint32_t table[TABLE];

static struct {
	tide_pool *pool;
	size_t words;
	_Atomic uint64_t finis;
} pools[POOLS];

struct worker {
	pthread_t thread;
	unsigned id;
	uint64_t random;
	uint32_t dead[REMEMBERED]; /* lives of any round that have ended */
	uint32_t dead_n;
	struct own {
		word *obj;
		tide_ref ref;
		uint32_t visits;
	} own[OWN];
	uint32_t owned;
	uint32_t own_pool;
};

static _Atomic uint64_t pins, stale_pins, walked, races;

static __thread unsigned reports;

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	STRESS_CHECK(report->kind == TIDE_DOUBLE_PUT, "%s", report->text);
	reports++;
}

static uint32_t
below(struct worker *worker, uint32_t n)
{
	return stress_below(&worker->random, n);
}

/* ---- lives ---------------------------------------------------------------- */

static void
stamp(word *obj, size_t words, uint64_t value)
{
	for (size_t i = 0; i < words; i++)
		atomic_store_explicit(&obj[i], value, memory_order_relaxed);
}

static void
check_stamp(word *obj, size_t words, uint64_t value, const char *what)
{
	for (size_t i = 0; i < words; i++) {
		uint64_t found = atomic_load_explicit(&obj[i], memory_order_relaxed);

		STRESS_CHECK(found == value, "%s: word %zu of %p is %" PRIu64 ", not %" PRIu64,
			     what, i, (void *)obj, found, value);
	}
}

static uint32_t
begin_life(struct worker *worker, uint32_t p)
{
	uint32_t index;
	tide_ref ref;
	word *obj = tide_get_ref(pools[p].pool, &ref);

	(void)worker;
	STRESS_CHECK(obj != NULL, "get: %s", strerror(errno));
	check_stamp(obj, pools[p].words, 0, "a new object");
	index = atomic_fetch_add(&lives_n, 1);
	STRESS_CHECK(index < LIVES_MAX, "too many lives");
	atomic_store(&lives[index].ref, ref);
	atomic_store(&lives[index].pool, p);
	stamp(obj, pools[p].words, index);
	atomic_store(&lives[index].written, true);
	return index;
}

static void
remember(struct worker *worker, uint32_t index)
{
	worker->dead[worker->dead_n++ % REMEMBERED] = index;
}

/* The only put of this life that succeeded. */
static void
note_put(struct worker *worker, uint32_t index)
{
	uint32_t before = atomic_fetch_add(&lives[index].puts, 1);

	STRESS_CHECK(before == 0, "life %u was put %u times", index, before + 1);
	atomic_store(&lives[index].ended, true);
	remember(worker, index);
}

static void
put_life(struct worker *worker, uint32_t index)
{
	struct life *life = &lives[index];
	uint32_t p = atomic_load(&life->pool);
	size_t bytes = pools[p].words * 8;
	bool had_ended = atomic_load(&life->ended);
	int err;

	atomic_store(&life->begun, true);
	err = tide_put_ref_used(pools[p].pool, atomic_load(&life->ref), bytes);
	STRESS_CHECK(err == 0 || err == -ESTALE, "put: %d", err);
	STRESS_CHECK(err != 0 || !had_ended, "a dead life was put");
	if (err == 0)
		note_put(worker, index);
	else
		/* Somebody else's put has ended it, if its thread has not said so yet. */
		remember(worker, index);
}

/* Pins, looks, and perhaps puts by pointer, which is safe while it is pinned. */
static void
pin_life(struct worker *worker, uint32_t index)
{
	struct life *life = &lives[index];
	uint32_t p = atomic_load(&life->pool);
	tide_pool *pool = pools[p].pool;
	tide_ref ref = atomic_load(&life->ref);
	bool had_ended = atomic_load(&life->ended);
	word *obj = tide_pin(pool, ref);
	unsigned op;

	if (obj == NULL) {
		STRESS_CHECK(errno == ESTALE && atomic_load(&life->begun),
			     "a pin of a live object failed");
		atomic_fetch_add_explicit(&stale_pins, 1, memory_order_relaxed);
		return;
	}
	STRESS_CHECK(!had_ended, "a stale ref was pinned");
	check_stamp(obj, pools[p].words, index, "pinned");
	op = below(worker, 16);
	if (op < 4) {
		reports = 0;
		atomic_store(&life->begun, true);
		if (op == 0)
			tide_discard(pool, obj);
		else
			tide_put(pool, obj);
		if (reports == 0)
			note_put(worker, index);
		else
			atomic_fetch_add_explicit(&races, 1, memory_order_relaxed);
		if (op == 1) {
			reports = 0;
			tide_put(pool, obj);
			STRESS_CHECK(reports == 1, "a second put of one life");
			atomic_fetch_add_explicit(&races, 1, memory_order_relaxed);
		}
		STRESS_CHECK(!tide_ref_is_live(pool, ref), "live after a put");
		STRESS_CHECK(tide_pin(pool, ref) == NULL, "pinned after a put");
	} else if (op < 6) {
		sched_yield();
	}
	check_stamp(obj, pools[p].words, index, "still pinned");
	tide_unpin(pool, obj);
	atomic_fetch_add_explicit(&pins, 1, memory_order_relaxed);
}

/* ---- operations ----------------------------------------------------------- */

static void
do_publish(struct worker *worker)
{
	uint32_t index = begin_life(worker, below(worker, POOLS));
	uint32_t old = atomic_exchange(&table[below(worker, TABLE)], index);

	if (old != 0)
		put_life(worker, old);
}

static void
do_pin(struct worker *worker)
{
	uint32_t index = atomic_load(&table[below(worker, TABLE)]);

	if (index != 0)
		pin_life(worker, index);
}

/* Leaves it in the table, so that others find it dead. */
static void
do_put(struct worker *worker)
{
	uint32_t index = atomic_load(&table[below(worker, TABLE)]);

	if (index != 0)
		put_life(worker, index);
}

static void
do_ask_dead(struct worker *worker)
{
	uint32_t n = worker->dead_n < REMEMBERED ? worker->dead_n : REMEMBERED;
	tide_pool *pool = pools[below(worker, POOLS)].pool;
	tide_ref ref;

	if (n == 0)
		return;
	ref = atomic_load(&lives[worker->dead[below(worker, n)]].ref);
	STRESS_CHECK(!tide_ref_is_live(pool, ref), "a dead ref is live");
	STRESS_CHECK(tide_pin(pool, ref) == NULL, "a dead ref was pinned");
	STRESS_CHECK(tide_put_ref(pool, ref) == -ESTALE, "a dead ref was put");
}

/* Each object of the walk carries a stamp that names its ref. */
static int
visit(void *arg_obj, tide_ref ref, void *arg)
{
	struct worker *worker = arg;
	word *obj = arg_obj;
	uint64_t found = atomic_load_explicit(&obj[0], memory_order_relaxed);

	for (uint32_t i = 0; i < worker->owned; i++)
		if (worker->own[i].ref == ref)
			worker->own[i].visits++;
	/* Nothing yet: it was got just now. Ends of threads' own lives are not noted. */
	if (found != 0 && found < LIVES_MAX) {
		struct life *life = &lives[found];

		STRESS_CHECK(atomic_load(&life->ref) == ref, "each: life %" PRIu64 " of %#" PRIx64,
			     found, ref);
		/* Others' objects may be put once they are published. */
		if (atomic_load(&life->written) && below(worker, 64) == 0)
			put_life(worker, (uint32_t)found);
	}
	atomic_fetch_add_explicit(&walked, 1, memory_order_relaxed);
	return 0;
}

/* What nobody else has the ref of lives throughout: visited exactly once. */
static void
do_each(struct worker *worker)
{
	for (uint32_t i = 0; i < worker->owned; i++)
		worker->own[i].visits = 0;
	tide_pool_each(pools[worker->own_pool].pool, visit, worker);
	for (uint32_t i = 0; i < worker->owned; i++)
		STRESS_CHECK(worker->own[i].visits == 1, "each visited an object %u times",
			     worker->own[i].visits);
}

static void
drop_own(struct worker *worker)
{
	uint32_t p = worker->own_pool;

	while (worker->owned > 0) {
		struct own *own = &worker->own[--worker->owned];

		check_stamp(own->obj, pools[p].words, LIVES_MAX + worker->id, "its owner's");
		STRESS_CHECK(tide_put_ref(pools[p].pool, own->ref) == 0, "put of its owner");
	}
}

static void
do_own(struct worker *worker)
{
	if (below(worker, 4) == 0) {
		drop_own(worker);
		worker->own_pool = below(worker, POOLS);
	}
	while (worker->owned < OWN) {
		struct own *own = &worker->own[worker->owned];

		own->obj = tide_get_ref(pools[worker->own_pool].pool, &own->ref);
		STRESS_CHECK(own->obj != NULL, "get");
		check_stamp(own->obj, pools[worker->own_pool].words, 0, "a new object");
		stamp(own->obj, pools[worker->own_pool].words, LIVES_MAX + worker->id);
		worker->owned++;
	}
}

/* More than a slab has, and all of it let go: slabs come and go. */
static void
do_burst(struct worker *worker)
{
	uint32_t p = below(worker, POOLS);
	void *objs[BURST];

	STRESS_CHECK(tide_get_bulk(pools[p].pool, objs, BURST) == 0, "bulk");
	for (unsigned i = 0; i < BURST; i++)
		check_stamp(objs[i], pools[p].words, 0, "a new object");
	for (unsigned i = 0; i < BURST; i++)
		tide_discard(pools[p].pool, objs[i]);
	tide_thread_flush();
}

static void *
work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < OPS; i++) {
		unsigned op = below(worker, 1000);

		if (op < 300)
			do_publish(worker);
		else if (op < 700)
			do_pin(worker);
		else if (op < 780)
			do_put(worker);
		else if (op < 980)
			do_ask_dead(worker);
		else if (op < 990)
			do_own(worker);
		else if (op < 995)
			do_each(worker);
		else if (op < 998)
			tide_thread_flush();
		else
			do_burst(worker);
	}
	drop_own(worker);
	return NULL;
}

/* ---- rounds --------------------------------------------------------------- */

static void
fini(void *obj, void *ctx)
{
	_Atomic uint64_t *finis = ctx;

	(void)obj;
	atomic_fetch_add(finis, 1);
}

static void
create_pools(unsigned round)
{
	/* All with slabs of one granule, cut in different ways. */
	static const size_t words[] = { 2, 8, 16, 4, 12, 14 };

	for (unsigned p = 0; p < POOLS; p++) {
		struct tide_pool_config config = {
			.config_bytes = sizeof(config),
			.name = "refs",
			.reset = tide_reset_zero,
			.fini = fini,
			.ctx = &pools[p].finis,
		};

		pools[p].words = words[(round + p) % 6];
		config.object_bytes = pools[p].words * 8;
		pools[p].pool = tide_pool_create(&config);
		STRESS_CHECK(pools[p].pool != NULL, "create");
		atomic_store(&pools[p].finis, 0);
	}
}

static void
destroy_pools(struct worker *worker)
{
	struct tide_pool_stats stats;

	for (unsigned i = 0; i < TABLE; i++) {
		uint32_t index = atomic_exchange(&table[i], 0);

		if (index != 0)
			put_life(worker, index);
	}
	STRESS_CHECK(tide_check() == 0, "tide_check");
	for (unsigned p = 0; p < POOLS; p++) {
		tide_pool_stats_read(pools[p].pool, &stats, sizeof(stats));
		STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are live or pinned",
			     stats.live_objects);
		STRESS_CHECK(tide_pool_destroy(pools[p].pool) == 0, "destroy");
		STRESS_CHECK(atomic_load(&pools[p].finis) == stats.created, "finis");
	}
}

int
main(int argc, char **argv)
{
	static struct worker workers[THREADS], main_worker;
	unsigned rounds = 0;

	stress_start(argc, argv);
	setenv("TIDENUMA", "fake=4", 0);
	tide_set_misuse_handler(on_misuse, NULL);
	lives = calloc(LIVES_MAX, sizeof(*lives));
	STRESS_CHECK(lives != NULL, "no memory");
	main_worker.random = stress_stream(1u << 20);
	while (stress_goes_on(rounds, ROUNDS) &&
	       atomic_load(&lives_n) < LIVES_MAX - THREADS * OPS) {
		create_pools(rounds);
		for (unsigned i = 0; i < THREADS; i++) {
			workers[i].id = i;
			workers[i].random = stress_stream(rounds * THREADS + i);
			STRESS_CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) ==
					     0,
				     "create");
		}
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(workers[i].thread, NULL);
		destroy_pools(&main_worker);
		rounds++;
	}
	STRESS_CHECK(atomic_load(&pins) > 0 && atomic_load(&stale_pins) > 0 &&
			     atomic_load(&walked) > 0 && atomic_load(&races) > 0,
		     "too little: %" PRIu64 " pins, %" PRIu64 " stale, %" PRIu64 " walked, %" PRIu64
		     " races",
		     atomic_load(&pins), atomic_load(&stale_pins), atomic_load(&walked),
		     atomic_load(&races));
	printf("%u lives, %" PRIu64 " pins, %" PRIu64 " refused, %" PRIu64 " met in walks, %" PRIu64
	       " lost puts\n",
	       atomic_load(&lives_n), atomic_load(&pins), atomic_load(&stale_pins),
	       atomic_load(&walked), atomic_load(&races));
	return 0;
}
