/* SPDX-License-Identifier: MIT */
/*
 * Signal handlers that call tidepool, although they must not, while threads are
 * inside it: each such call works or is refused as TIDE_REENTERED, with one report;
 * the call that was interrupted never notices; nothing is lost, nobody waits for
 * ever (a watchdog ends the test), tide_check() is content.
 *
 * First with the processor's trap flag, so that a handler runs after every single
 * instruction of a script of calls; then with a storm of timers over threads that
 * come and go.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include <tide.h>

#include "signal_tsan.h"
#include "step.h"
#include "stress.h"

#define THREADS   6
#define WAVES     4
#define TRAPPED   2                        /* threads */
#define SCRIPTS   (300u / STRESS_SLOWDOWN) /* a thread, in the storm */
#define PERIOD_NS 100000
#define STASH     32
#define FRESH     48 /* pools that only handlers use */
#define HELD      150
#define BYTES     64
#define WORDS     (BYTES / 8)

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static tide_pool *pool, *scarce, *huge, *fresh[FRESH];
static _Atomic uint64_t handled, carried_out, refused;

/* What handlers keep: nobody else of the thread touches it while they may come. */
struct stash {
	struct kept {
		tide_pool *pool;
		uint64_t *obj;
		uint64_t stamp;
	} kept[STASH];
	unsigned n;
	unsigned pins; /* that could not be taken off */
	uint64_t random;
	uint64_t sequence;
};

static __thread struct stash stash;
static __thread volatile unsigned reports;
static __thread volatile bool in_handler;
static __thread tide_ref pinned_ref; /* of an object that lives as long as the thread works */

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	STRESS_CHECK(in_handler, "reported of what was interrupted: %s", report->text);
	STRESS_CHECK(report->kind == TIDE_REENTERED, "%s", report->text);
	reports++;
}

/* ---- the handler ---------------------------------------------------------- */

/* How the call of a handler went; true: it was carried out. */
static bool
went_well(unsigned calls)
{
	unsigned n = reports;

	reports = 0;
	STRESS_CHECK(n == 0 || n == calls, "%u reports of %u calls", n, calls);
	atomic_fetch_add_explicit(n == 0 ? &carried_out : &refused, 1, memory_order_relaxed);
	return n == 0;
}

static void
stamp_new(uint64_t *obj, uint64_t value)
{
	for (unsigned i = 0; i < WORDS; i++) {
		STRESS_CHECK(obj[i] == 0, "a new object has %#" PRIx64, obj[i]);
		obj[i] = value;
	}
}

static void
check_stamp(const uint64_t *obj, uint64_t value)
{
	for (unsigned i = 0; i < WORDS; i++)
		STRESS_CHECK(obj[i] == value, "two owners: %#" PRIx64 ", %#" PRIx64, obj[i], value);
}

static uint64_t
next_stamp(void)
{
	return (uint64_t)(uintptr_t)&stash << 16 ^ ++stash.sequence;
}

static void
keep(tide_pool *from, uint64_t *obj)
{
	struct kept kept = { .pool = from, .obj = obj, .stamp = next_stamp() };

	stamp_new(obj, kept.stamp);
	stash.kept[stash.n++] = kept;
}

static void
handler_get(tide_pool *from)
{
	uint64_t *obj;

	if (stash.n == STASH)
		return;
	obj = tide_get(from);
	if (!went_well(1))
		STRESS_CHECK(obj == NULL && errno == EDEADLK, "a refused get");
	else if (obj == NULL)
		STRESS_CHECK(errno == ENOMEM && from == scarce, "get: %s", strerror(errno));
	if (obj != NULL)
		keep(from, obj);
}

static void
handler_put(bool is_discard)
{
	struct kept kept;

	if (stash.n == 0)
		return;
	kept = stash.kept[stash.n - 1];
	check_stamp(kept.obj, kept.stamp);
	if (is_discard || kept.pool == huge)
		tide_discard(kept.pool, kept.obj);
	else
		tide_put(kept.pool, kept.obj);
	if (went_well(1))
		stash.n--;
	else
		check_stamp(kept.obj, kept.stamp);
}

static void
handler_bulk(void)
{
	void *objs[4];
	int err;

	if (stash.n + 4 > STASH)
		return;
	err = tide_get_bulk(pool, objs, 4);
	if (!went_well(1)) {
		STRESS_CHECK(err == -EDEADLK, "a refused bulk get");
		return;
	}
	STRESS_CHECK(err == 0, "bulk get: %d", err);
	for (unsigned i = 0; i < 4; i++)
		stamp_new(objs[i], 1);
	tide_put_bulk(pool, objs, 4);
	if (!went_well(4))
		for (unsigned i = 0; i < 4; i++) {
			memset(objs[i], 0, BYTES);
			keep(pool, objs[i]);
		}
}

static void
handler_pin(void)
{
	void *obj;

	if (pinned_ref == 0)
		return;
	obj = tide_pin(pool, pinned_ref);
	STRESS_CHECK(obj != NULL && went_well(1), "a pin takes nothing but a slot word");
	tide_unpin(pool, obj);
	if (!went_well(1))
		stash.pins++;
}

/* One object a slab: of two slabs one is given up again. */
static void
handler_slabs(void)
{
	handler_get(huge);
	handler_get(huge);
	handler_put(true);
	handler_put(true);
}

static void
handle(void)
{
	struct tide_pool_stats stats;

	switch (stress_below(&stash.random, 14)) {
	case 0:
	case 1:
		handler_get(pool);
		break;
	case 2:
	case 3:
	case 4:
		handler_put(false);
		break;
	case 5:
		handler_put(true);
		break;
	case 6:
		handler_get(scarce);
		break;
	case 7: /* this thread's first, often */
		handler_get(fresh[stress_below(&stash.random, FRESH)]);
		break;
	case 8:
		tide_thread_flush();
		went_well(1);
		break;
	case 9:
		handler_bulk();
		break;
	case 10:
		handler_pin();
		break;
	case 11:
	case 12:
		handler_slabs();
		break;
	default:
		tide_pool_stats_read(pool, &stats, sizeof(stats));
		went_well(1);
	}
}

static void
on_signal(int number)
{
	int saved = errno;

	(void)number;
	in_handler = true;
	handle();
	in_handler = false;
	atomic_fetch_add_explicit(&handled, 1, memory_order_relaxed);
	errno = saved;
}

/* No signals come any more. */
static void
empty_stash(uint64_t *own)
{
	while (stash.n > 0) {
		struct kept kept = stash.kept[--stash.n];

		check_stamp(kept.obj, kept.stamp);
		tide_put_used(kept.pool, kept.obj, BYTES);
	}
	while (stash.pins > 0) {
		tide_unpin(pool, own);
		stash.pins--;
	}
	tide_put(pool, own);
}

/* ---- after every instruction ---------------------------------------------- */

#if CAN_STEP && !SANITIZED
#define HAS_TRAP_FLAG 1
#endif

/* This thread's script is the one for the trap flag; an instruction then takes long. */
static __thread bool is_trapped;

/* Signals come meanwhile: always in the storm, of the trapped ones in every nth. */
#define INTERRUPTED(n, statement)                                                                  \
	do {                                                                                       \
		bool traps = is_trapped && stress_below(&script_random, n) == 0;                   \
                                                                                                   \
		if (traps)                                                                         \
			set_trap_flag();                                                           \
		statement;                                                                         \
		if (traps)                                                                         \
			clear_trap_flag();                                                         \
	} while (0)

static __thread uint64_t script_random;

/* ---- the script: what is interrupted -------------------------------------- */

static tide_pool *
create(const char *name, size_t object_bytes, size_t max_objs)
{
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = name,
		.object_bytes = object_bytes,
		.reset = tide_reset_zero,
		.max_bytes = max_objs * object_bytes,
	};
	tide_pool *created = tide_pool_create(&config);

	STRESS_CHECK(created != NULL, "create: %s", strerror(errno));
	return created;
}

static void
hold_and_put(tide_pool *from, unsigned n)
{
	uint64_t *objs[HELD];
	unsigned got = 0;

	while (got < n) {
		INTERRUPTED(25, objs[got] = tide_get(from));
		if (objs[got] == NULL) {
			STRESS_CHECK(errno == ENOMEM && from == scarce, "get: %s", strerror(errno));
			break;
		}
		stamp_new(objs[got], (uint64_t)(uintptr_t)&objs[got]);
		got++;
	}
	while (got-- > 0) {
		check_stamp(objs[got], (uint64_t)(uintptr_t)&objs[got]);
		if (got % 16 == 15)
			INTERRUPTED(4, tide_discard(from, objs[got]));
		else if (got % 8 == 7)
			INTERRUPTED(25, tide_put_used(from, objs[got], BYTES));
		else
			INTERRUPTED(25, tide_put(from, objs[got]));
	}
}

static void
bulk(size_t n)
{
	void *objs[HELD];
	int err;

	INTERRUPTED(1, err = tide_get_bulk(pool, objs, n));
	STRESS_CHECK(err == 0, "bulk");
	for (size_t i = 0; i < n; i++)
		stamp_new(objs[i], i + 1);
	for (size_t i = 0; i < n; i++)
		check_stamp(objs[i], i + 1);
	INTERRUPTED(1, tide_put_bulk(pool, objs, n));
}

static void
refs(void)
{
	bool is_live;
	uint64_t *obj;
	void *pin;
	tide_ref ref;
	int err, again;

	INTERRUPTED(1, obj = tide_get_ref(pool, &ref));
	STRESS_CHECK(obj != NULL && ref != 0, "get");
	stamp_new(obj, 7);
	INTERRUPTED(1, pin = tide_pin(pool, ref));
	INTERRUPTED(1, err = tide_put_ref(pool, ref));
	STRESS_CHECK(pin == obj && err == 0, "pin and put");
	check_stamp(obj, 7);
	INTERRUPTED(1, tide_unpin(pool, obj));
	INTERRUPTED(1, again = tide_put_ref(pool, ref));
	INTERRUPTED(1, is_live = tide_ref_is_live(pool, ref));
	STRESS_CHECK(again == -ESTALE && !is_live, "stale");
}

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	(void)arg;
	return 1;
}

/* With few slots in a slab: destroy looks at each. */
static void
come_and_go(void)
{
	tide_pool *other;
	void *obj;
	int err;

	INTERRUPTED(1, other = create("other", 60000, 0));
	INTERRUPTED(1, obj = tide_get(other));
	STRESS_CHECK(obj != NULL, "get: %s", strerror(errno));
	stamp_new(obj, 9);
	INTERRUPTED(1, tide_put_used(other, obj, BYTES));
	INTERRUPTED(1, err = tide_pool_destroy(other));
	STRESS_CHECK(err == 0, "destroy");
}

static void
odds_and_ends(void)
{
	struct tide_pool_stats stats;
	const tide_pool *found;
	char text[64];
	void *obj;
	int err;

	INTERRUPTED(1, obj = tide_get_on(pool, 1));
	STRESS_CHECK(obj != NULL, "get_on");
	INTERRUPTED(1, tide_put(pool, obj));
	INTERRUPTED(1, err = tide_pool_reserve(pool, 20));
	STRESS_CHECK(err == 0, "reserve");
	INTERRUPTED(1, tide_pool_each(pool, visit, NULL));
	INTERRUPTED(1, found = tide_pool_find("pool"));
	STRESS_CHECK(found == pool, "find");
	INTERRUPTED(1, tide_pool_stats_read(pool, &stats, sizeof(stats)));
	if (!is_trapped)
		STRESS_CHECK(tide_stats_format(text, sizeof(text), TIDE_JSON) > 0, "format");
}

static void
run_script(void)
{
	hold_and_put(pool, 8);
	hold_and_put(pool, HELD);
	hold_and_put(scarce, 40);
	bulk(is_trapped ? 6 : HELD);
	refs();
	INTERRUPTED(1, tide_thread_flush());
	odds_and_ends();
	come_and_go();
	hold_and_put(pool, 40);
}

static uint64_t *
begin_thread(uint64_t number)
{
	uint64_t *own;

	stash.random = stress_stream(number);
	script_random = stress_stream(~number);
	own = tide_get_ref(pool, &pinned_ref);
	STRESS_CHECK(own != NULL, "get");
	return own;
}

#ifdef HAS_TRAP_FLAG
static void *
be_trapped(void *arg)
{
	uint64_t *own = begin_thread(*(uint64_t *)arg);

	is_trapped = true;
	run_script();
	empty_stash(own);
	return NULL;
}

static void
run_trapped(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGTRAP, &action, NULL);
	/* A thread has its first calls only once. */
	for (uint64_t i = 0; i < TRAPPED; i++) {
		pthread_t thread;

		STRESS_CHECK(pthread_create(&thread, NULL, be_trapped, &i) == 0, "create");
		pthread_join(thread, NULL);
		STRESS_CHECK(tide_check() == 0, "tide_check");
	}
	printf("a handler after %" PRIu64 " instructions: %" PRIu64 " calls carried out, %" PRIu64
	       " refused\n",
	       atomic_load(&handled), atomic_load(&carried_out), atomic_load(&refused));
	fflush(stdout);
	STRESS_CHECK(atomic_load(&carried_out) > 0 && atomic_load(&refused) > 0, "too little");
}
#endif

/* ---- the storm ------------------------------------------------------------ */

static void *
be_stormed(void *arg)
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec period = { .it_interval.tv_nsec = PERIOD_NS,
				     .it_value.tv_nsec = PERIOD_NS };
	uint64_t *own = begin_thread(*(uint64_t *)arg);
	sigset_t set;
	timer_t timer;

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	STRESS_CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer");
	STRESS_CHECK(timer_settime(timer, 0, &period, NULL) == 0, "timer");
	for (unsigned i = 0; i < SCRIPTS; i++)
		run_script();
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	timer_delete(timer);
	empty_stash(own);
	return NULL;
}

static void
run_storm(unsigned wave)
{
	pthread_t threads[THREADS];
	uint64_t numbers[THREADS];

	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = 100 + wave * THREADS + i;
		STRESS_CHECK(pthread_create(&threads[i], NULL, be_stormed, &numbers[i]) == 0,
			     "create");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	STRESS_CHECK(tide_check() == 0, "tide_check");
}

static void
check_and_destroy(tide_pool *which)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(which, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are live", stats.live_objects);
	STRESS_CHECK(stats.created == stats.released + stats.idle_objects, "lost");
	STRESS_CHECK(tide_pool_destroy(which) == 0, "destroy");
}

int
main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct tide_stats stats;
	unsigned waves = 0;

	stress_start(argc, argv);
	/* The watchdog. */
	alarm(stress_seconds > 0 ? (unsigned)stress_seconds * 2 + 120 : 120);
	setenv("TIDENUMA", "fake=4", 1);
	tide_set_misuse_handler(on_misuse, NULL);
	pool = create("pool", BYTES, 0);
	scarce = create("scarce", BYTES, 50);
	huge = create("huge", (size_t)8 << 20, 0);
	for (unsigned i = 0; i < FRESH; i++)
		fresh[i] = create("fresh", BYTES, 0);
#ifdef HAS_TRAP_FLAG
	run_trapped();
#endif
	sigaction(SIGUSR1, &action, NULL);
	while (stress_goes_on(waves, WAVES))
		run_storm(waves++);
	tide_stats_read(&stats, sizeof(stats));
	check_and_destroy(pool);
	check_and_destroy(scarce);
	check_and_destroy(huge);
	for (unsigned i = 0; i < FRESH; i++)
		check_and_destroy(fresh[i]);
	printf("%" PRIu64 " signals: %" PRIu64 " calls carried out, %" PRIu64 " refused\n",
	       atomic_load(&handled), atomic_load(&carried_out), atomic_load(&refused));
	return 0;
}
