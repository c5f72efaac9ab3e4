/* SPDX-License-Identifier: MIT */
/*
 * What the threads of stress_pool.c do and must not: each report belongs to a
 * misuse of the same thread.
 */
#include "config.h"

#include "stress_pool.h"

_Atomic uint64_t reports, misuses;
static __thread uint32_t expected_kind; /* 0: none */
static __thread unsigned expected_reports;

void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	STRESS_CHECK(report->kind == expected_kind && report->report_bytes == sizeof(*report),
		     "unexpected: %s", report->text);
	STRESS_CHECK(strncmp(report->text, "tidepool: ", 10) == 0, "%s", report->text);
	expected_reports++;
	atomic_fetch_add(&reports, 1);
}

static void
expect(uint32_t kind)
{
	expected_kind = kind;
	expected_reports = 0;
}

static void
expect_end(unsigned n)
{
	STRESS_CHECK(expected_reports == n, "%u reports of %s, not %u", expected_reports,
		     tide_misuse_name(expected_kind), n);
	expected_kind = 0;
	atomic_fetch_add(&misuses, n);
}

/* ---- misuse --------------------------------------------------------------- */

/* Of an object that is ours and stays ours: the stamp shows that nothing was done. */
void
do_misuse(struct worker *worker)
{
	const struct held *held;
	tide_pool *pool, *other;
	unsigned char on_stack[16];

	if (worker->helds == 0)
		return;
	held = &worker->held[stress_below(&worker->random, worker->helds)];
	pool = held->subject->pool;
	other = subjects[(size_t)(held->subject - subjects + 1) % SUBJECTS].pool;
	switch (stress_below(&worker->random, 6)) {
	case 0:
		expect(TIDE_WRONG_POOL);
		tide_put(other, held->obj);
		break;
	case 1:
		expect(TIDE_WRONG_POOL);
		tide_discard(other, held->obj);
		break;
	case 2:
		expect(TIDE_FOREIGN_PUT);
		tide_put(pool, held->obj + 1);
		break;
	case 3:
		expect(TIDE_FOREIGN_PUT);
		tide_put(pool, on_stack);
		break;
	case 4:
		expect(TIDE_OVERFLOW);
		tide_put_used(pool, held->obj, held->subject->bytes + 1);
		break;
	default:
		expect(TIDE_BAD_UNPIN);
		tide_unpin(pool, held->obj);
	}
	expect_end(1);
}

/*
 * A second put before anybody can be given the object: of a pool with one depot
 * and no cap, where the last object put stays in this thread's cache.
 */
void
do_put_twice(void)
{
	void *obj = tide_get(BOUND->pool);

	STRESS_CHECK(obj != NULL, "get");
	atomic_fetch_add(&BOUND->gets, 1);
	atomic_fetch_add(&BOUND->puts, 1);
	memset(obj, 0x33, BOUND->bytes);
	tide_put(BOUND->pool, obj);
	expect(TIDE_DOUBLE_PUT);
	tide_put(BOUND->pool, obj);
	expect_end(1);
}

/*
 * An object that everybody puts. Its first owner has it pinned, so that it cannot
 * be given to anybody else meanwhile.
 */
static struct {
	pthread_rwlock_t lock;
	unsigned char *obj;
	struct worker *owner;
	_Atomic unsigned wins;
} race = { .lock = PTHREAD_RWLOCK_INITIALIZER };

static void
race_put(unsigned how)
{
	if (race.obj == NULL)
		return;
	expect(TIDE_DOUBLE_PUT);
	if (how == 0)
		tide_discard(PARTS->pool, race.obj);
	else
		tide_put(PARTS->pool, race.obj);
	STRESS_CHECK(expected_reports <= 1, "%u reports of one put", expected_reports);
	if (expected_reports == 0) {
		atomic_fetch_add(&race.wins, 1);
		atomic_fetch_add(how == 0 ? &PARTS->discards : &PARTS->puts, 1);
	}
	expect_end(expected_reports);
}

void
race_end(struct worker *worker)
{
	pthread_rwlock_wrlock(&race.lock);
	if (race.owner == worker && race.obj != NULL) {
		race_put(1);
		STRESS_CHECK(atomic_load(&race.wins) == 1, "%u puts of one life",
			     atomic_load(&race.wins));
		tide_unpin(PARTS->pool, race.obj);
		race.obj = NULL;
	}
	pthread_rwlock_unlock(&race.lock);
}

static void
race_begin(struct worker *worker)
{
	tide_ref ref;

	pthread_rwlock_wrlock(&race.lock);
	if (race.obj == NULL) {
		race.obj = tide_get_ref(PARTS->pool, &ref);
		STRESS_CHECK(race.obj != NULL, "get");
		atomic_fetch_add(&PARTS->gets, 1);
		STRESS_CHECK(tide_pin(PARTS->pool, ref) == race.obj, "pin");
		memset(race.obj, 0x44, PARTS->bytes);
		race.owner = worker;
		atomic_store(&race.wins, 0);
	}
	pthread_rwlock_unlock(&race.lock);
}

void
do_race(struct worker *worker)
{
	switch (stress_below(&worker->random, 4)) {
	case 0:
		race_begin(worker);
		break;
	case 1:
		race_end(worker);
		break;
	default:
		pthread_rwlock_rdlock(&race.lock);
		race_put(stress_below(&worker->random, 2));
		pthread_rwlock_unlock(&race.lock);
	}
}
