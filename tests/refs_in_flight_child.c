/* SPDX-License-Identifier: MIT */
/*
 * The child of refs_in_flight.c: the first thread is the actor, which fills the
 * first pool, takes the wanted object's memory away under the victim, and checks
 * what is left; the other one is the victim, which calls and is stopped.
 */
#include "config.h"

#include "refs_in_flight.h"

#if CAN_STOP

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <tide.h>

#define GRANULE_SHIFT 16 /* slabs of both pools are one such piece of addresses */
#define FIRST_BYTES   128u
#define SECOND_BYTES  16u
#define FIRST_SLOTS   512u
#define SECOND_SLOTS  4096u
#define FIRST_BITS    9 /* of the index, in a ref */
#define SECOND_BITS   12
#define REF_BITS      40
#define OBJECTS       (3 * FIRST_SLOTS)
#define CYCLES_MAX    2000 /* generations to go through until they meet */
#define FIRST_STAMP   UINT64_C(0x1111111111110000)
#define SECOND_STAMP  UINT64_C(0x2222222222220000)

static tide_pool *first, *second;
static char *objs[OBJECTS];
static char *seconds[SECOND_SLOTS];
static tide_ref second_refs[SECOND_SLOTS];
static char *wanted, *warm;
static tide_ref wanted_ref;
static bool actor_ended;

/* The victim's outcome. */
static void *pinned;
static int put_error;
static unsigned put_reports;
static unsigned strangers;

static __thread unsigned reports;

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)report;
	(void)arg;
	reports++;
}

static tide_pool *
create(const char *name, size_t bytes)
{
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = name,
		.object_bytes = bytes,
		.reset = tide_reset_zero,
	};
	tide_pool *pool = tide_pool_create(&config);

	STRESS_CHECK(pool != NULL, "create");
	return pool;
}

static uintptr_t
granule(const void *obj)
{
	return (uintptr_t)obj >> GRANULE_SHIFT;
}

static void
stamp(char *obj, uint64_t value)
{
	memcpy(obj, &value, sizeof(value));
}

static uint64_t
stamp_of(const char *obj)
{
	uint64_t value;

	memcpy(&value, obj, sizeof(value));
	return value;
}

/* Three slabs, full: the first has the wanted object, the second one for the victim's cache. */
static void
prepare(void)
{
	first = create("first", FIRST_BYTES);
	second = create("second", SECOND_BYTES);
	for (unsigned i = 0; i < OBJECTS; i++) {
		objs[i] = tide_get(first);
		STRESS_CHECK(objs[i] != NULL, "get");
		stamp(objs[i], FIRST_STAMP + i);
	}
	wanted = objs[FIRST_SLOTS / 3];
	wanted_ref = tide_ref_of(first, wanted);
	STRESS_CHECK(wanted_ref != 0, "ref");
	warm = objs[FIRST_SLOTS];
	STRESS_CHECK(granule(warm) != granule(wanted), "two slabs");
	objs[FIRST_SLOTS] = NULL;
	pinned = NULL;
	put_error = -1;
	put_reports = 0;
	strangers = 0;
	actor_ended = false;
	atomic_store(&shared->recut, 0);
}

static uint64_t
generation_of(tide_ref ref, unsigned index_bits)
{
	return (ref & ((UINT64_C(1) << REF_BITS) - 1)) >> index_bits;
}

/* Has the object in the wanted one's slot word live again until generations meet. */
static void
meet_generation(uint64_t generation)
{
	uintptr_t base = granule(wanted) << GRANULE_SHIFT;
	size_t slot = ((uintptr_t)wanted - base) / FIRST_BYTES;

	for (unsigned i = 0; i < SECOND_SLOTS; i++) {
		if ((uintptr_t)seconds[i] != base + slot * SECOND_BYTES)
			continue;
		while (generation_of(second_refs[i], SECOND_BITS) < generation) {
			char *was = seconds[i];

			STRESS_CHECK(tide_put_ref(second, second_refs[i]) == 0, "put");
			seconds[i] = tide_get_ref(second, &second_refs[i]);
			STRESS_CHECK(seconds[i] != NULL, "get");
			stamp(seconds[i], SECOND_STAMP + i);
			if (seconds[i] != was)
				return;
		}
		if (generation_of(second_refs[i], SECOND_BITS) == generation)
			atomic_fetch_add(&shared->same_generation, 1);
	}
}

/* Ends all lives of a slab of the first pool but NULLs. */
static void
discard_slab(const void *in)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objs[i] == NULL || granule(objs[i]) != granule(in))
			continue;
		reports = 0;
		tide_discard(first, objs[i]);
		if (objs[i] == wanted)
			actor_ended = reports == 0;
		else
			STRESS_CHECK(reports == 0, "a discard was refused");
		objs[i] = NULL;
	}
}

/* The wanted object's next life, in the same slot of the same pool. */
static void
reissue(void)
{
	unsigned i = FIRST_SLOTS / 3;

	reports = 0;
	tide_put(first, wanted);
	actor_ended = reports == 0;
	objs[i] = NULL;
	if (!actor_ended)
		return;
	objs[i] = tide_get(first);
	STRESS_CHECK(objs[i] != NULL, "get");
	stamp(objs[i], FIRST_STAMP + i);
	atomic_store(&shared->recut, objs[i] == wanted);
}

static void
interfere(void)
{
	if (shared->reissues) {
		reissue();
		return;
	}
	/* One empty slab is kept: not the wanted one. */
	discard_slab(objs[OBJECTS - 1]);
	discard_slab(wanted);
	for (unsigned i = 0; i < SECOND_SLOTS; i++) {
		seconds[i] = tide_get_ref(second, &second_refs[i]);
		STRESS_CHECK(seconds[i] != NULL, "get");
		stamp(seconds[i], SECOND_STAMP + i);
	}
	if (granule(seconds[0]) != granule(wanted))
		return;
	atomic_store(&shared->recut, 1);
	/* A walk takes any life that it finds. */
	if (shared->op != EACH)
		meet_generation(generation_of(wanted_ref, FIRST_BITS));
}

static void
check_ends(void)
{
	switch (shared->op) {
	case PIN:
		STRESS_CHECK(actor_ended, "a discard was refused");
		break;
	case PUT_REF:
		STRESS_CHECK((put_error == 0) != actor_ended, "put by ref says %d, discard %d",
			     put_error, actor_ended);
		break;
	case PUT:
	case PUT_USED:
		STRESS_CHECK(put_reports <= 1 && (put_reports == 0) != actor_ended,
			     "put says %u, discard %d", put_reports, actor_ended);
		break;
	default:
		STRESS_CHECK(strangers == 0, "each met %u objects of another pool", strangers);
		STRESS_CHECK(actor_ended, "a discard was refused");
	}
}

static void
finish(void)
{
	struct tide_pool_stats stats;

	if (shared->in_flight)
		check_ends();
	STRESS_CHECK(tide_check() == 0, "tide_check");
	reports = 0;
	for (unsigned i = 0; i < SECOND_SLOTS && !shared->reissues; i++) {
		STRESS_CHECK(tide_ref_is_live(second, second_refs[i]), "a life was ended");
		STRESS_CHECK(stamp_of(seconds[i]) == SECOND_STAMP + i, "an object was written to");
		STRESS_CHECK(tide_put_ref(second, second_refs[i]) == 0, "a life was ended");
	}
	tide_pool_stats_read(second, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are pinned", stats.live_objects);
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objs[i] == NULL)
			continue;
		STRESS_CHECK(stamp_of(objs[i]) == FIRST_STAMP + i, "an object was written to");
		tide_put(first, objs[i]);
	}
	STRESS_CHECK(reports == 0, "a put was refused");
	STRESS_CHECK(tide_pool_destroy(first) == 0, "destroy");
	/*
	 * Each trial leaves eight times the generations behind for the next one in
	 * the same place. When they are too many the second pool stays there.
	 */
	if (generation_of(wanted_ref, FIRST_BITS) < CYCLES_MAX)
		STRESS_CHECK(tide_pool_destroy(second) == 0, "destroy");
}

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)ref;
	(void)arg;
	if ((stamp_of(obj) & ~UINT64_C(0xffff)) != FIRST_STAMP)
		strangers++;
	return 0;
}

static void
call(enum op op)
{
	switch (op) {
	case PIN:
		pinned = tide_pin(first, wanted_ref);
		break;
	case PUT_REF:
		put_error = tide_put_ref(first, wanted_ref);
		break;
	case PUT:
		tide_put(first, wanted);
		break;
	case PUT_USED:
		tide_put_used(first, wanted, 8);
		break;
	default:
		tide_pool_each(first, visit, NULL);
	}
}

static void *
be_victim(void *unused)
{
	char op;

	(void)unused;
	atomic_store(&shared->tid, (int)syscall(SYS_gettid));
	while (read(victim_orders[0], &op, 1) == 1) {
		/* A cache with a magazine, so that the call may be a hit; or else none. */
		if (!shared->reissues)
			tide_put(first, warm);
		reports = 0;
		atomic_store(&shared->returned, 0);
		__asm__ volatile("int3" ::: "memory");
		call((enum op)op);
		atomic_store(&shared->returned, 1);
		__asm__ volatile("int3" ::: "memory");
		put_reports = reports;
		if (shared->reissues)
			tide_put(first, warm);
		if (pinned != NULL) {
			STRESS_CHECK(pinned == wanted, "pinned another object");
			STRESS_CHECK(!shared->in_flight || !atomic_load(&shared->recut),
				     "pinned what is another pool's, of generation %" PRIu64,
				     generation_of(wanted_ref, FIRST_BITS));
			STRESS_CHECK(stamp_of(pinned) == FIRST_STAMP + FIRST_SLOTS / 3,
				     "reset while pinned");
			tide_unpin(first, pinned);
			STRESS_CHECK(reports == 0, "the pin is gone");
		}
		STRESS_CHECK(write(victim_answers[1], &op, 1) == 1, "write");
	}
	return NULL;
}

void
run_child(void)
{
	pthread_t victim;
	char order;

	/* Whatever becomes of the parent, nothing stays behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(120);
	setenv("TIDENUMA", "off", 1);
	tide_set_misuse_handler(on_misuse, NULL);
	STRESS_CHECK(tide_init() == 0, "init");
	STRESS_CHECK(pthread_create(&victim, NULL, be_victim, NULL) == 0, "thread");
	while (read(actor_orders[0], &order, 1) == 1) {
		if (order == PREPARE)
			prepare();
		else if (order == INTERFERE)
			interfere();
		else if (order == FINISH)
			finish();
		else
			_exit(0);
		STRESS_CHECK(write(actor_answers[1], &order, 1) == 1, "write");
	}
	_exit(1);
}

#endif
