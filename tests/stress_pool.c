/* SPDX-License-Identifier: MIT */
/*
 * Sixteen threads at a time, which die and are replaced, over four pretended
 * nodes and pools of many sizes. The owner of an object stamps every byte of it,
 * and finds its stamp untouched when it puts it (B); the next owner finds zero
 * bytes, or what reset and init leave (A). Objects change hands, are misused (I:
 * exactly one report each), outlive their thread's caches, and go back from
 * other nodes. At quiet points, with the threads parked and their caches full, and
 * again without threads: tide_check() (B, E, H), the statistics against our own
 * count, init against fini (D).
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <tide.h>

#include "stress.h"

#define THREADS     16
#define OPS         (24000u / STRESS_SLOWDOWN)
#define ROUNDS      3
#define CHURN       64 /* threads a round */
#define HELD_MAX    40
#define MAILBOX_MAX 96
#define RECORDS_MAX (1u << 20)
#define PATTERN     0xa5 /* what init and reset of the hooked pools leave */
#define HEADER      8    /* hooked objects begin with their record's number */

struct subject {
	const char *name;
	size_t bytes;
	size_t max_objs;
	unsigned weight; /* how often it is chosen */
	uint32_t placement, node;
	bool hooked;
	bool wipes;

	tide_pool *pool;
	_Atomic int64_t live; /* not more than are */
	_Atomic uint64_t gets, puts, discards, undone;
	_Atomic uint64_t inits, finis;
};

/* clang-format off */
static struct subject subjects[] = {
	{ .name = "parts", .bytes = 16, .weight = 16 },
	{ .name = "odd", .bytes = 41, .weight = 12, .wipes = true },
	{ .name = "conns", .bytes = 200, .weight = 16, .hooked = true },
	{ .name = "bound", .bytes = 128, .weight = 12, .placement = TIDE_BIND, .node = 2 },
	{ .name = "spread", .bytes = 513, .weight = 8, .placement = TIDE_INTERLEAVE },
	{ .name = "scarce", .bytes = 1000, .weight = 12, .max_objs = 150 },
	{ .name = "scarce-conns", .bytes = 300, .weight = 12, .max_objs = 120, .hooked = true },
	{ .name = "pages", .bytes = 4096, .weight = 6 },
	{ .name = "blocks", .bytes = 32768, .weight = 3 },
	{ .name = "large", .bytes = 65536, .weight = 2, .max_objs = 40 },
};
/* clang-format on */

#define SUBJECTS (sizeof(subjects) / sizeof(subjects[0]))
#define PARTS    (&subjects[0])
#define BOUND    (&subjects[3])

struct held {
	struct subject *subject;
	unsigned char *obj;
	tide_ref ref; /* 0: got without */
	uint64_t stamp;
	size_t used;
};

struct worker {
	pthread_t thread;
	unsigned id;
	bool parks;
	uint64_t random;
	uint64_t sequence;
	unsigned helds;
	struct held held[HELD_MAX];
};

/* ---- misuse: each report belongs to a misuse of the same thread ------------ */

static _Atomic uint64_t reports, misuses;
static __thread uint32_t expected_kind; /* 0: none */
static __thread unsigned expected_reports;

static void
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

/* ---- the hooks of the hooked pools ---------------------------------------- */

enum { UNUSED, MADE, OWNED, UNMADE };

/* An object's other half: says whether a hook came at a wrong time. */
struct record {
	_Atomic int state;
	struct subject *subject;
	void *part; /* of another pool: hooks may use tidepool */
};

static struct record records[RECORDS_MAX];
static _Atomic uint64_t records_used, init_calls, reset_calls;

static struct record *
record_of(const void *obj)
{
	uint64_t number;

	memcpy(&number, obj, sizeof(number));
	STRESS_CHECK(number > 0 && number < RECORDS_MAX, "record number %#" PRIx64, number);
	return &records[number];
}

static void
set_state(struct record *record, int from, int to)
{
	int was = atomic_exchange(&record->state, to);

	STRESS_CHECK(was == from, "object in state %d, not %d", was, from);
}

static int
init_conn(void *obj, void *ctx)
{
	struct subject *subject = ctx;
	unsigned char *bytes = obj;
	uint64_t number;
	void *part;

	for (size_t i = 0; i < subject->bytes; i++)
		STRESS_CHECK(bytes[i] == 0, "init of '%s': byte %zu is %#x", subject->name, i,
			     bytes[i]);
	memset(obj, 0x5a, subject->bytes);
	/* Whatever a failed init leaves must be cleared. */
	if (atomic_fetch_add(&init_calls, 1) % 97 == 96)
		return -EIO;
	part = tide_get(PARTS->pool);
	if (part == NULL)
		return -errno;
	number = 1 + atomic_fetch_add(&records_used, 1);
	STRESS_CHECK(number < RECORDS_MAX, "out of records");
	records[number].subject = subject;
	records[number].part = part;
	memset(part, 0x77, PARTS->bytes);
	memcpy(obj, &number, sizeof(number));
	memset(bytes + HEADER, PATTERN, subject->bytes - HEADER);
	set_state(&records[number], UNUSED, MADE);
	atomic_fetch_add(&subject->inits, 1);
	return 0;
}

static int
reset_conn(void *obj, size_t used, void *ctx)
{
	struct record *record = record_of(obj);

	STRESS_CHECK(record->subject == ctx && atomic_load(&record->state) == MADE,
		     "reset of a live object");
	if (atomic_fetch_add(&reset_calls, 1) % 61 == 60)
		return 1;
	if (used > HEADER)
		memset((unsigned char *)obj + HEADER, PATTERN, used - HEADER);
	return 0;
}

static void
fini_conn(void *obj, void *ctx)
{
	struct record *record = record_of(obj);
	struct subject *subject = ctx;

	STRESS_CHECK(record->subject == subject, "fini by another pool");
	set_state(record, MADE, UNMADE);
	tide_put(PARTS->pool, record->part);
	atomic_fetch_add(&subject->finis, 1);
}

/* ---- stamps --------------------------------------------------------------- */

/* Byte by byte the stamp repeats, from wherever in the object. */
static void
fill(unsigned char *obj, size_t from, size_t to, uint64_t stamp)
{
	for (; from + 8 <= to; from += 8)
		memcpy(obj + from, &stamp, 8);
	memcpy(obj + from, &stamp, to - from);
}

static void
check_bytes(const struct held *held, size_t from, size_t to, uint64_t stamp, const char *what)
{
	const unsigned char *obj = held->obj;
	size_t at = from;
	uint64_t word;

	for (; at + 8 <= to; at += 8) {
		memcpy(&word, obj + at, 8);
		STRESS_CHECK(word == stamp, "%s: '%s' %p of %#" PRIx64 ": at %zu %#" PRIx64, what,
			     held->subject->name, (const void *)obj, stamp, at, word);
	}
	word = stamp;
	memcpy(&word, obj + at, to - at);
	STRESS_CHECK(word == stamp, "%s: '%s' %p: the tail is %#" PRIx64, what, held->subject->name,
		     (const void *)obj, word);
}

static uint64_t
pristine(const struct subject *subject)
{
	uint64_t word = 0;

	if (subject->hooked)
		memset(&word, PATTERN, sizeof(word));
	return word;
}

/* A new owner: as reset left it, then stamped. */
static void
own(struct worker *worker, struct subject *subject, void *obj, tide_ref ref)
{
	struct held *held = &worker->held[worker->helds++];
	size_t from = subject->hooked ? HEADER : 0;
	int64_t live = 1 + atomic_fetch_add(&subject->live, 1);

	STRESS_CHECK(subject->max_objs == 0 || live <= (int64_t)subject->max_objs,
		     "'%s': %" PRId64 " are live of %zu", subject->name, live, subject->max_objs);
	atomic_fetch_add(&subject->gets, 1);
	*held = (struct held){ .subject = subject, .obj = obj, .ref = ref };
	if (subject->hooked)
		set_state(record_of(obj), MADE, OWNED);
	check_bytes(held, from, subject->bytes, pristine(subject), "pristine");
	held->stamp = (uint64_t)(worker->id + 1) << 40 | (++worker->sequence << 8) | 0x5e;
	held->used = subject->bytes;
	/* The large ones are seldom used to the end. */
	if (stress_below(&worker->random, 4) == 0 || subject->bytes > 8192)
		held->used =
			from + stress_below(&worker->random, (uint32_t)(subject->bytes - from));
	fill(held->obj, from, held->used, held->stamp);
}

/* The last look of an owner; the object is then nobody's as far as hooks know. */
static void
disown(const struct held *held)
{
	struct subject *subject = held->subject;
	size_t from = subject->hooked ? HEADER : 0;

	check_bytes(held, from, held->used, held->stamp, "stamp");
	check_bytes(held, held->used, subject->bytes, pristine(subject), "unused");
	if (subject->hooked)
		set_state(record_of(held->obj), OWNED, MADE);
	atomic_fetch_sub(&subject->live, 1);
}

/* ---- operations ----------------------------------------------------------- */

static struct subject *
choose(struct worker *worker)
{
	unsigned at = stress_below(&worker->random, 99);
	size_t i = 0;

	while (at >= subjects[i].weight)
		at -= subjects[i++].weight;
	return &subjects[i];
}

static void
check_failed_get(const struct subject *subject, int err)
{
	STRESS_CHECK((err == ENOMEM && subject->max_objs > 0) || (err == EIO && subject->hooked),
		     "get of '%s': %s", subject->name, strerror(err));
}

static void
do_get(struct worker *worker)
{
	struct subject *subject = choose(worker);
	tide_ref ref = 0;
	void *obj;

	if (stress_below(&worker->random, 3) == 0)
		obj = tide_get_ref(subject->pool, &ref);
	else
		obj = tide_get(subject->pool);
	if (obj == NULL)
		check_failed_get(subject, errno);
	else
		own(worker, subject, obj, ref);
}

static void
do_get_on(struct worker *worker)
{
	struct subject *subject = choose(worker);
	unsigned node = stress_below(&worker->random, 4);
	void *obj = tide_get_on(subject->pool, node);

	if (obj != NULL)
		own(worker, subject, obj, 0);
	else if (errno != EINVAL || subject->placement == TIDE_LOCAL)
		check_failed_get(subject, errno);
}

static void
do_get_bulk(struct worker *worker)
{
	struct subject *subject = choose(worker);
	void *objs[HELD_MAX];
	size_t n = 1 + stress_below(&worker->random, HELD_MAX - worker->helds);
	int err;

	if (subject->bytes > 8192)
		return;
	err = tide_get_bulk(subject->pool, objs, n);
	if (err != 0) {
		check_failed_get(subject, -err);
		atomic_fetch_add(&subject->undone, 1);
		return;
	}
	for (size_t i = 0; i < n; i++)
		own(worker, subject, objs[i], 0);
}

static struct held
pick(struct worker *worker)
{
	unsigned at = stress_below(&worker->random, worker->helds);
	struct held held = worker->held[at];

	worker->held[at] = worker->held[--worker->helds];
	return held;
}

static void
put_held(uint64_t *random, const struct held *held)
{
	tide_pool *pool = held->subject->pool;
	unsigned how = stress_below(random, 8);

	disown(held);
	if (how == 0) {
		atomic_fetch_add(&held->subject->discards, 1);
		tide_discard(pool, held->obj);
		return;
	}
	atomic_fetch_add(&held->subject->puts, 1);
	if (held->ref != 0 && how < 5)
		STRESS_CHECK(tide_put_ref_used(pool, held->ref, held->used) == 0, "put by ref");
	else if (how % 2 == 0)
		tide_put_used(pool, held->obj, held->used);
	else
		tide_put(pool, held->obj);
}

static void
do_put(struct worker *worker)
{
	struct held held;

	if (worker->helds == 0)
		return;
	held = pick(worker);
	put_held(&worker->random, &held);
}

/* All that is held of one pool, and a NULL. */
static void
do_put_bulk(struct worker *worker)
{
	struct subject *subject = choose(worker);
	void *objs[HELD_MAX + 1];
	size_t n = 0;
	unsigned kept = 0;

	objs[n++] = NULL;
	for (unsigned i = 0; i < worker->helds; i++) {
		const struct held held = worker->held[i];

		if (held.subject == subject) {
			disown(&held);
			objs[n++] = held.obj;
		} else {
			worker->held[kept++] = held;
		}
	}
	worker->helds = kept;
	atomic_fetch_add(&subject->puts, n - 1);
	tide_put_bulk(subject->pool, objs, n);
}

/* Objects that go from thread to thread. */
static struct {
	pthread_mutex_t lock;
	unsigned n;
	struct held held[MAILBOX_MAX];
} mailbox = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void
do_post(struct worker *worker)
{
	struct held held;
	bool is_full;

	if (worker->helds == 0)
		return;
	held = pick(worker);
	pthread_mutex_lock(&mailbox.lock);
	is_full = mailbox.n == MAILBOX_MAX;
	if (!is_full)
		mailbox.held[mailbox.n++] = held;
	pthread_mutex_unlock(&mailbox.lock);
	if (is_full)
		put_held(&worker->random, &held);
}

static void
do_fetch(struct worker *worker)
{
	unsigned at;

	if (worker->helds == HELD_MAX)
		return;
	pthread_mutex_lock(&mailbox.lock);
	if (mailbox.n > 0) {
		at = stress_below(&worker->random, mailbox.n);
		worker->held[worker->helds++] = mailbox.held[at];
		mailbox.held[at] = mailbox.held[--mailbox.n];
	}
	pthread_mutex_unlock(&mailbox.lock);
}

/* To another processor, and so perhaps to another node. */
static void
do_move(struct worker *worker)
{
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(stress_below(&worker->random, cpus), &set);
	/* Where that processor is not ours, we stay. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static void
do_look(struct worker *worker)
{
	struct subject *subject = choose(worker);
	struct tide_pool_stats stats;
	char text[256];

	switch (stress_below(&worker->random, 4)) {
	case 0:
		tide_pool_stats_read(subject->pool, &stats, sizeof(stats));
		break;
	case 1:
		STRESS_CHECK(
			tide_stats_format(text, sizeof(text), stress_below(&worker->random, 3)) > 0,
			"format");
		break;
	case 2:
		STRESS_CHECK(tide_pool_find(subject->name) == subject->pool, "find");
		break;
	default:
		if (subject->bytes <= 8192)
			(void)tide_pool_reserve(subject->pool, stress_below(&worker->random, 200));
	}
}

/* ---- misuse --------------------------------------------------------------- */

/* Of an object that is ours and stays ours: the stamp shows that nothing was done. */
static void
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
static void
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

static void
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

static void
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

/* ---- threads -------------------------------------------------------------- */

static pthread_key_t late_key; /* made after tidepool's: its destructor runs later */
static pthread_barrier_t parked, unparked;

/* What a thread still has when its caches are gone already. */
static void
put_late(void *value)
{
	struct worker *worker = value;

	while (worker->helds > 0)
		do_put(worker);
}

static void
step(struct worker *worker)
{
	unsigned op = stress_below(&worker->random, 1000);

	if (op < 380 && worker->helds < HELD_MAX)
		do_get(worker);
	else if (op < 760)
		do_put(worker);
	else if (op < 830)
		do_post(worker);
	else if (op < 900)
		do_fetch(worker);
	else if (op < 925 && worker->helds < HELD_MAX)
		do_get_on(worker);
	else if (op < 940 && worker->helds < HELD_MAX)
		do_get_bulk(worker);
	else if (op < 955)
		do_put_bulk(worker);
	else if (op < 965)
		do_misuse(worker);
	else if (op < 970)
		do_put_twice();
	else if (op < 990)
		do_race(worker);
	else if (op < 994)
		do_move(worker);
	else if (op < 997)
		do_look(worker);
	else
		tide_thread_flush();
}

static void *
work(void *arg)
{
	struct worker *worker = arg;

	for (unsigned i = 0; i < OPS; i++)
		step(worker);
	race_end(worker);
	if (worker->parks) {
		pthread_barrier_wait(&parked);
		pthread_barrier_wait(&unparked);
	}
	while (worker->helds > 8)
		stress_below(&worker->random, 2) == 0 ? do_put(worker) : do_post(worker);
	pthread_setspecific(late_key, worker);
	return NULL;
}

/* ---- quiet points --------------------------------------------------------- */

static void
check_subject(struct subject *subject, int64_t extra)
{
	struct tide_pool_stats stats;
	uint64_t gets = atomic_load(&subject->gets);
	uint64_t puts = atomic_load(&subject->puts);
	uint64_t live = (uint64_t)(atomic_load(&subject->live) + extra);

	tide_pool_stats_read(subject->pool, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == live, "'%s': %" PRIu64 " live, not %" PRIu64,
		     subject->name, stats.live_objects, live);
	STRESS_CHECK(stats.created == stats.released + stats.live_objects + stats.idle_objects,
		     "'%s': lost", subject->name);
	STRESS_CHECK(stats.gets == stats.puts + stats.discards + stats.live_objects,
		     "'%s': gets and puts", subject->name);
	STRESS_CHECK(stats.discards == atomic_load(&subject->discards), "'%s': discards",
		     subject->name);
	if (atomic_load(&subject->undone) == 0)
		STRESS_CHECK(stats.gets == gets && stats.puts == puts,
			     "'%s': %" PRIu64 " gets, not %" PRIu64 "; %" PRIu64
			     " puts, not %" PRIu64,
			     subject->name, stats.gets, gets, stats.puts, puts);
	if (subject->hooked)
		STRESS_CHECK(stats.created == atomic_load(&subject->inits) &&
				     stats.released == atomic_load(&subject->finis),
			     "'%s': inits or finis", subject->name);
}

/* Nobody is inside tidepool. Each hooked object has a part, that init got. */
static void
check_quiet(void)
{
	int64_t parts = 0;

	STRESS_CHECK(tide_check() == 0, "tide_check");
	for (size_t i = 0; i < SUBJECTS; i++)
		parts += (int64_t)(atomic_load(&subjects[i].inits) -
				   atomic_load(&subjects[i].finis));
	for (size_t i = 1; i < SUBJECTS; i++)
		check_subject(&subjects[i], 0);
	/* Of the parts, hooks' gets and puts are not in our count of either. */
	atomic_fetch_add(&PARTS->undone, 1);
	check_subject(PARTS, parts);
	STRESS_CHECK(atomic_load(&reports) == atomic_load(&misuses), "reports");
}

static void
run_round(unsigned round)
{
	static struct worker workers[THREADS];

	for (unsigned i = 0; i < CHURN; i++) {
		struct worker *worker = &workers[i % THREADS];

		if (i >= THREADS)
			STRESS_CHECK(pthread_join(worker->thread, NULL) == 0, "join");
		memset(worker, 0, sizeof(*worker));
		worker->id = round * CHURN + i;
		worker->parks = i >= CHURN - THREADS;
		worker->random = stress_stream(worker->id + 1);
		STRESS_CHECK(pthread_create(&worker->thread, NULL, work, worker) == 0, "create");
	}
	/* The last ones are all there: quiet, and their caches full. */
	pthread_barrier_wait(&parked);
	check_quiet();
	pthread_barrier_wait(&unparked);
	for (unsigned i = 0; i < THREADS; i++)
		STRESS_CHECK(pthread_join(workers[i].thread, NULL) == 0, "join");
	check_quiet();
}

static void
create_pools(void)
{
	for (size_t i = 0; i < SUBJECTS; i++) {
		struct subject *subject = &subjects[i];
		struct tide_pool_config config = {
			.config_bytes = sizeof(config),
			.name = subject->name,
			.object_bytes = subject->bytes,
			.reset = subject->wipes ? tide_reset_wipe : tide_reset_zero,
			.max_bytes = subject->max_objs * subject->bytes,
			.placement = subject->placement,
			.node = subject->node,
		};

		if (subject->hooked) {
			config.init = init_conn;
			config.reset = reset_conn;
			config.fini = fini_conn;
			config.ctx = subject;
		}
		subject->pool = tide_pool_create(&config);
		STRESS_CHECK(subject->pool != NULL, "create: %s", strerror(errno));
	}
}

static void
destroy_pools(void)
{
	struct tide_stats stats;

	/* The parts last: the hooks use them. */
	for (size_t i = SUBJECTS; i-- > 0;) {
		struct subject *subject = &subjects[i];

		STRESS_CHECK(tide_pool_destroy(subject->pool) == 0, "destroy '%s'", subject->name);
		STRESS_CHECK(atomic_load(&subject->inits) == atomic_load(&subject->finis),
			     "'%s': %" PRIu64 " inits, %" PRIu64 " finis", subject->name,
			     atomic_load(&subject->inits), atomic_load(&subject->finis));
	}
	for (uint64_t i = 1; i <= atomic_load(&records_used); i++)
		STRESS_CHECK(atomic_load(&records[i].state) == UNMADE, "an object without fini");
	tide_stats_read(&stats, sizeof(stats));
	STRESS_CHECK(stats.pools == 0 && stats.live_objects == 0 && stats.idle_objects == 0,
		     "something is left");
	STRESS_CHECK(stats.misuses == atomic_load(&misuses), "misuses");
}

int
main(int argc, char **argv)
{
	uint64_t random, gets = 0;
	unsigned rounds = 0;

	stress_start(argc, argv);
	random = stress_stream(0);
	setenv("TIDENUMA", "fake=4", 1);
	tide_set_misuse_handler(on_misuse, NULL);
	create_pools();
	STRESS_CHECK(pthread_key_create(&late_key, put_late) == 0, "key");
	pthread_barrier_init(&parked, NULL, THREADS + 1);
	pthread_barrier_init(&unparked, NULL, THREADS + 1);
	while (stress_goes_on(rounds, ROUNDS))
		run_round(rounds++);
	while (mailbox.n > 0)
		put_held(&random, &mailbox.held[--mailbox.n]);
	check_quiet();
	for (size_t i = 0; i < SUBJECTS; i++)
		gets += atomic_load(&subjects[i].gets);
	destroy_pools();
	STRESS_CHECK(atomic_load(&misuses) > 0 && atomic_load(&records_used) > 0, "too little");
	printf("%u threads, %" PRIu64 " gets, %" PRIu64 " misuses, each reported once\n",
	       rounds * CHURN, gets, atomic_load(&misuses));
	return 0;
}
