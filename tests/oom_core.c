/* SPDX-License-Identifier: MIT */
/*
 * Out of memory: the Nth allocation or mapping is refused, for every N until a
 * run asks less often, over a scenario of all that the core does. Whatever call
 * that hits says ENOMEM or does without; nothing is lost, everything works
 * afterwards, and no record, reservation or file descriptor is left behind.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>

#include "numa/fault.h"
#include "oom_out.h"
#include "pool/tide.h"
#include "rooms.h"

/* ---- the scenario ----------------------------------------------------------------- */

#define SINGLES 40
#define BULK    150

static bool is_strict; /* nothing is refused: nothing may fail */
static unsigned refusals;
static unsigned nodes;
static _Atomic int inited; /* objects that hooks made and have not finished */

static int
count_init(void *obj, void *ctx)
{
	(void)ctx;
	REQUIRE(is_zero(obj, 100));
	atomic_fetch_add(&inited, 1);
	*(char *)obj = 7;
	return 0;
}

static int
keep_mark(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	memset(obj, 0, used);
	*(char *)obj = 7;
	return 0;
}

static void
count_fini(void *obj, void *ctx)
{
	(void)ctx;
	REQUIRE(*(char *)obj == 7);
	atomic_fetch_sub(&inited, 1);
}

/* Is it done? If not, then for want of memory, and only when some was refused. */
static bool
is_done(bool done, int err, const char *what)
{
	if (done)
		return true;
	REQUIRE_MSG(err == ENOMEM, "%s: %s", what, strerror(err));
	REQUIRE_MSG(!is_strict, "%s fails, and nothing was refused", what);
	refusals++;
	return false;
}

#define DONE(condition)   is_done(condition, errno, #condition)
#define DONE_CODE(call)   done_code(call, #call)
#define NEVER_FAILS(call) REQUIRE_MSG((call) == 0, "%s", #call)

static bool
done_code(int err, const char *what)
{
	return is_done(err == 0, -err, what);
}

static tide_pool *
create(const char *name, size_t bytes, size_t max_bytes, bool has_hooks)
{
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = name,
		.object_bytes = bytes,
		.init = has_hooks ? count_init : NULL,
		.reset = has_hooks ? keep_mark : tide_reset_zero,
		.fini = has_hooks ? count_fini : NULL,
		.max_bytes = max_bytes,
	};
	tide_pool *pool = tide_pool_create(&config);

	return DONE(pool != NULL) ? pool : NULL;
}

/* Of large objects a few will do. */
static bool
is_large(const tide_pool *pool)
{
	return tide_pool_object_bytes(pool) > 65536;
}

static void
use(tide_pool *pool, void *obj)
{
	size_t bytes = tide_pool_object_bytes(pool);

	REQUIRE(is_zero((char *)obj + 1, bytes - 1));
	memset((char *)obj + 1, 0x3c, bytes - 1);
}

static void
get_and_put(tide_pool *pool)
{
	void *objs[SINGLES];
	unsigned singles = is_large(pool) ? SINGLES / 8 : SINGLES;
	unsigned n = 0;

	while (n < singles) {
		void *obj = n % 5 == 4 ? tide_get_on(pool, n % nodes) : tide_get(pool);

		if (!DONE(obj != NULL))
			break;
		use(pool, obj);
		objs[n++] = obj;
	}
	while (n > 0) {
		n--;
		if (n % 7 == 3)
			tide_discard(pool, objs[n]);
		else
			tide_put(pool, objs[n]);
	}
}

static void
use_refs(tide_pool *pool)
{
	tide_ref ref = 1;
	void *obj = tide_get_ref(pool, &ref);

	if (!DONE(obj != NULL)) {
		REQUIRE(ref == 0);
		return;
	}
	REQUIRE(ref != 0 && tide_ref_of(pool, obj) == ref);
	REQUIRE(tide_pin(pool, ref) == obj);
	use(pool, obj);
	NEVER_FAILS(tide_put_ref(pool, ref));
	REQUIRE(!tide_ref_is_live(pool, ref));
	tide_unpin(pool, obj);
	REQUIRE(tide_pin(pool, ref) == NULL && errno == ESTALE);
}

static void
use_bulk(tide_pool *pool)
{
	unsigned bulk = is_large(pool) ? BULK / 30 : BULK;
	void *objs[BULK];

	if (!DONE_CODE(tide_get_bulk(pool, objs, bulk)))
		return;
	for (unsigned i = 0; i < bulk; i++)
		use(pool, objs[i]);
	tide_put_bulk(pool, objs, bulk);
}

static void
use_all(tide_pool *pool)
{
	get_and_put(pool);
	use_refs(pool);
	use_bulk(pool);
	tide_thread_flush();
	get_and_put(pool);
}

static void *
be_a_thread(void *pool)
{
	use_all(pool);
	return NULL;
}

static void
read_stats(tide_pool *pool)
{
	struct tide_pool_stats stats;
	int length;

	tide_pool_stats_read(pool, &stats, sizeof(stats));
	REQUIRE(stats.live_objects == 0);
	REQUIRE(stats.idle_objects + stats.released == stats.created);
	for (uint32_t format = TIDE_TEXT; format <= TIDE_PROMETHEUS; format++) {
		length = tide_stats_format(NULL, 0, format);
		DONE_CODE(length > 0 ? 0 : length);
	}
}

static void
use_pool(tide_pool *pool)
{
	pthread_t thread;

	if (pool == NULL)
		return;
	use_all(pool);
	DONE_CODE(tide_pool_reserve(pool, is_large(pool) ? 20 : 300));
	ck_assert_int_eq(pthread_create(&thread, NULL, be_a_thread, pool), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	use_all(pool);
	read_stats(pool);
	DONE_CODE(tide_check());
}

static void
run_scenario(void)
{
	tide_pool *pools[] = {
		create("oom-small", 100, 0, false),
		create("oom-hooks", 1000, 0, true),
		create("oom-uncached", 70000, 0, true),
		create("oom-capped", 200, 400 * 200, false),
	};

	for (unsigned i = 0; i < 4; i++)
		use_pool(pools[i]);
	for (unsigned i = 0; i < 4; i++)
		if (pools[i] != NULL)
			NEVER_FAILS(tide_pool_destroy(pools[i]));
	REQUIRE(inited == 0);
}

/* Nothing is refused, nothing may fail. */
static void
run_strictly(void)
{
	struct tide_stats stats;

	atomic_store(&tidep_numa_fault_in, 0);
	is_strict = true;
	run_scenario();
	NEVER_FAILS(tide_check());
	tide_stats_read(&stats, sizeof(stats));
	REQUIRE(stats.pools == 0 && stats.live_objects == 0 && stats.misuses == 0);
	REQUIRE(stats.threads <= 1);
	is_strict = false;
}

/* Runs with each N in turn; returns how many there are. */
static int64_t
refuse_each(void)
{
	int64_t n = 0;

	do {
		atomic_store(&tidep_numa_fault_in, ++n);
		run_scenario();
	} while (atomic_load(&tidep_numa_fault_in) < 0);
	return n - 1;
}

/* And so on one node, so that rounds are alike. */
static void
stay_on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

START_TEST(every_refusal_is_survived)
{
	int64_t reserved, out, askings;
	unsigned fds;

	nodes = 2;
	setenv("TIDENUMA", "fake=2", 1);
	stay_on_one_cpu();
	run_strictly();
	askings = refuse_each();
	ck_assert_int_gt(askings, 50);
	ck_assert_uint_gt(refusals, 20);
	run_strictly();
	/* What is kept for good is there now: from here on nothing may be added. */
	out = records;
	reserved = reserved_bytes;
	fds = count_fds();
	ck_assert_int_gt(refuse_each(), 50);
	run_strictly();
	ck_assert_int_eq(records, out);
	ck_assert_int_eq(reserved_bytes, reserved);
	ck_assert_uint_eq(count_fds(), fds);
	printf("%lld askings a run, %u calls refused\n", (long long)askings, refusals);
}
END_TEST

/* ---- the first calls ------------------------------------------------------------ */

/* What a process that began with a refusal ends with; shared with its parent. */
struct outcome {
	bool was_reached;
	int64_t records;
	int64_t reserved_bytes;
};

/* In a process of its own: settings, topology, addresses, first slabs and threads. */
static void
start_with_refusal(int64_t n, struct outcome *outcome)
{
	tide_pool *pool;

	atomic_store(&tidep_numa_fault_in, n);
	pool = create("oom-first", 100, 0, false);
	if (pool != NULL) {
		use_pool(pool);
		NEVER_FAILS(tide_pool_destroy(pool));
	}
	outcome->was_reached = atomic_load(&tidep_numa_fault_in) < 0;
	run_strictly();
	outcome->records = records;
	outcome->reserved_bytes = reserved_bytes;
}

START_TEST(a_start_that_is_refused_is_tried_again)
{
	static const char *const settings[][2] = { { "auto", "" }, { "fake=3", "quarantine=5" } };
	enum { OUTCOMES_MAX = 400 };
	struct outcome *outcome = mmap(NULL, OUTCOMES_MAX * sizeof(*outcome),
				       PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(outcome, MAP_FAILED);
	stay_on_one_cpu();
	/* Under a sanitizer, where a fork is dear, only the one that asks more often. */
	for (int i = SANITIZED; i < 2; i++) {
		int64_t n = 0;

		setenv("TIDENUMA", settings[i][0], 1);
		setenv("TIDEDEBUG", settings[i][1], 1);
		/* The machine may have but one. */
		nodes = i == 0 ? 1 : 3;
		do {
			pid_t child = fork();
			int status;

			ck_assert_int_ge(child, 0);
			ck_assert_int_lt(++n, OUTCOMES_MAX);
			if (child == 0) {
				start_with_refusal(n, &outcome[n]);
				_exit(0);
			}
			ck_assert_int_eq(waitpid(child, &status, 0), child);
			ck_assert_msg(WIFEXITED(status), "N = %d: signal %d", (int)n,
				      WTERMSIG(status));
			ck_assert_msg(WEXITSTATUS(status) == 0, "N = %d", (int)n);
		} while (outcome[n].was_reached);
		ck_assert_int_gt(n, 25);
		/* Whatever was refused, in the end there is as much as without. */
		for (int64_t k = 1; k < n; k++) {
			REQUIRE_MSG(outcome[k].records == outcome[n].records,
				    "%s, N = %d: %d records are left, %d without a refusal",
				    settings[i][0], (int)k, (int)outcome[k].records,
				    (int)outcome[n].records);
			/* Where the first reservation is refused, half of it must do. */
			REQUIRE(outcome[k].reserved_bytes <= outcome[n].reserved_bytes);
		}
	}
}
END_TEST

int
main(void)
{
	return run_suite("oom_core", (const TTest *const[]){
					     every_refusal_is_survived,
					     a_start_that_is_refused_is_tried_again,
					     NULL,
				     });
}
