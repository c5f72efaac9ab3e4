/* SPDX-License-Identifier: MIT */
/*
 * What the owners of stress_pool.c do: they get objects, stamp every byte, hand
 * them on, and find the stamp untouched when they put them.
 */
#include "config.h"

#include <errno.h>
#include <sched.h>

#include "stress_pool.h"

#define MAILBOX_MAX 96

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

void
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

void
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

void
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

void
do_put(struct worker *worker)
{
	struct held held;

	if (worker->helds == 0)
		return;
	held = pick(worker);
	put_held(&worker->random, &held);
}

/* All that is held of one pool, and a NULL. */
void
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

void
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

void
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

void
empty_mailbox(uint64_t *random)
{
	while (mailbox.n > 0)
		put_held(random, &mailbox.held[--mailbox.n]);
}

/* To another processor, and so perhaps to another node. */
void
do_move(struct worker *worker)
{
	unsigned cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(stress_below(&worker->random, cpus), &set);
	/* Where that processor is not ours, we stay. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

void
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
