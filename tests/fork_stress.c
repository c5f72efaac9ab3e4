/* SPDX-License-Identifier: MIT */
/*
 * Forks while other threads are in every slow path and in hooks: they get, put, pin,
 * walk, flush, discard, create and destroy pools, read statistics, exit and are born,
 * over four pretended nodes, with a pool under max_bytes, one of large objects that no
 * thread caches, and one whose hooks take a while, call tidepool and fork themselves.
 * Two threads fork, each child goes on with everything, with threads of its own, and
 * some have children too. In each, all adds up: what the forker owns is its own, what
 * other threads had cached is handed out before anything is made, what was let go had
 * its fini once.
 *
 * Five times, each in a process of its own: with membarrier; without it from the
 * start; with one that is forbidden half way; with a quarantine; and with every reset
 * checked. TIDE_FORKS says how many forks there are in all.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "forbid.h"
#include "fork_stress.h"
#include "fork_tsan.h"

#define WORKERS      6
#define FORKERS      2
#define LIFE_OPS     400u /* then a worker exits, and another is born */
#define HELD_MAX     24u
#define OWNED        8u /* of each pool, by who forks */
#define FORKS        400u
#define HANG_SECONDS 60u /* a hang, not a slow machine */

enum variant { WITH, WITHOUT, FAILING, QUARANTINE, VERIFY, VARIANTS };

static const char *const variant_names[VARIANTS] = { "with membarrier", "without membarrier",
						     "with a membarrier that is forbidden half way",
						     "with a quarantine", "with resets checked" };

static enum variant variant;
static unsigned forks_wanted; /* of each variant */
tide_pool *pools[KINDS];
__thread uint64_t random_state;
__thread bool forks_in_hook, in_hook;
__thread unsigned born_in_hook;
_Atomic uint64_t finis, inits;
static _Atomic bool stop;
static _Atomic uint64_t forks_done, hook_forks;

/* ---- workers -------------------------------------------------------------- */

static void
ignore_report(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	STRESS_CHECK(report->kind == TIDE_LEAK, "%s", report->text);
}

struct held {
	tide_pool *pool;
	struct object *obj;
	tide_ref ref;
};

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	return stress_below(arg, 32) == 0;
}

static void
put_held(struct held *held)
{
	struct object *pinned = NULL;

	if (stress_below(&random_state, 4) == 0)
		pinned = tide_pin(held->pool, held->ref);
	switch (stress_below(&random_state, 4)) {
	case 0:
		STRESS_CHECK(tide_put_ref(held->pool, held->ref) == 0, "an owner's ref");
		break;
	case 1:
		tide_discard(held->pool, held->obj);
		break;
	default:
		tide_put(held->pool, held->obj);
	}
	if (pinned != NULL)
		tide_unpin(held->pool, pinned);
}

static bool
get_one(tide_pool *pool, struct held *held)
{
	held->pool = pool;
	held->obj = stress_below(&random_state, 3) == 0
			    ? tide_get_on(pool, stress_below(&random_state, 4))
			    : tide_get(pool);
	if (held->obj == NULL) {
		STRESS_CHECK(errno == ENOMEM || errno == EIO, "%s", strerror(errno));
		return false;
	}
	STRESS_CHECK(held->obj->owner == 0, "two owners: %#" PRIx64, held->obj->owner);
	held->obj->owner = random_state | 1;
	held->ref = tide_ref_of(pool, held->obj);
	STRESS_CHECK(held->ref != 0, "a live object has a ref");
	return true;
}

static void
live_and_let_die(void)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "passing",
		.object_bytes = 16u << stress_below(&random_state, 12),
		.reset = tide_reset_zero,
	});
	void *objs[40];

	STRESS_CHECK(pool != NULL, "%s", strerror(errno));
	STRESS_CHECK(tide_get_bulk(pool, objs, 40) == 0, "bulk");
	tide_put_bulk(pool, objs, 40);
	STRESS_CHECK(tide_pool_destroy(pool) == 0, "nothing is live");
}

static void
do_something(struct held *held, unsigned *helds)
{
	tide_pool *pool = pools[stress_below(&random_state, KINDS)];
	uint32_t dice = stress_below(&random_state, 100);
	char text[256];

	if (dice < 45) {
		if (*helds < HELD_MAX && get_one(pool, &held[*helds]))
			++*helds;
	} else if (dice < 88) {
		if (*helds > 0) {
			put_held(&held[stress_below(&random_state, *helds)]);
			/* The last one takes its place. */
			for (unsigned i = 0; i < *helds; i++)
				if (!tide_ref_is_live(held[i].pool, held[i].ref)) {
					held[i] = held[--*helds];
					break;
				}
		}
	} else if (dice < 90) {
		tide_thread_flush();
	} else if (dice < 92) {
		tide_pool_each(pool, visit, &random_state);
	} else if (dice < 94) {
		live_and_let_die();
	} else if (dice < 96) {
		tide_stats_format(text, sizeof(text), TIDE_JSON);
	} else if (dice < 98) {
		tide_pool_find("hooked");
		tide_set_misuse_handler(ignore_report, NULL);
	} else {
		tide_pool_reserve(pools[PLAIN], stress_below(&random_state, 64));
	}
}

static void
work(unsigned ops)
{
	struct held held[HELD_MAX];
	unsigned helds = 0;

	for (unsigned i = 0; i < ops; i++)
		do_something(held, &helds);
	while (helds > 0)
		put_held(&held[--helds]);
}

static void *
live_once(void *seed)
{
	random_state = (uintptr_t)seed;
	work(LIFE_OPS);
	return NULL;
}

/* One worker after another, until all is over. */
static void *
be_workers(void *seed)
{
	uint64_t random = (uintptr_t)seed;

	while (!atomic_load(&stop)) {
		pthread_t thread;

		STRESS_CHECK(pthread_create(&thread, NULL, live_once,
					    (void *)(uintptr_t)stress_next(&random)) == 0,
			     "a thread");
		STRESS_CHECK(pthread_join(thread, NULL) == 0, "its end");
	}
	return NULL;
}

/* ---- children ------------------------------------------------------------- */

static struct tide_pool_stats
stats_of(const tide_pool *pool)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool, &stats, sizeof(stats));
	return stats;
}

static void
check_all(const char *where)
{
	int err = tide_check();

	STRESS_CHECK(err == 0, "%s: %s", where, strerror(-err));
	for (unsigned i = 0; i < KINDS; i++) {
		struct tide_pool_stats stats = stats_of(pools[i]);

		STRESS_CHECK(stats.live_objects + stats.idle_objects + stats.released ==
				     stats.created,
			     "%s: pool %u", where, i);
	}
}

/* As many gets as objects are idle make none. */
static void
take_what_is_idle(tide_pool *pool)
{
	struct tide_pool_stats before = stats_of(pool);
	size_t bytes = (before.idle_objects + 1) * sizeof(void *);
	/* No malloc: AddressSanitizer's has a lock that some thread may have held. */
	void **objs = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	STRESS_CHECK(objs != MAP_FAILED, "memory");
	for (uint64_t i = 0; i < before.idle_objects; i++) {
		objs[i] = tide_get(pool);
		STRESS_CHECK(objs[i] != NULL, "%s", strerror(errno));
	}
	STRESS_CHECK(stats_of(pool).created == before.created, "%" PRIu64 " made, %" PRIu64 " idle",
		     stats_of(pool).created - before.created, before.idle_objects);
	STRESS_CHECK(stats_of(pool).idle_objects == 0, "idle");
	for (uint64_t i = 0; i < before.idle_objects; i++)
		tide_put(pool, objs[i]);
	munmap(objs, bytes);
}

static void
have_threads(void)
{
	pthread_t thread[2];

	for (unsigned i = 0; i < 2; i++)
		STRESS_CHECK(pthread_create(&thread[i], NULL, live_once,
					    (void *)(uintptr_t)stress_next(&random_state)) == 0,
			     "a thread of the child");
	for (unsigned i = 0; i < 2; i++)
		STRESS_CHECK(pthread_join(thread[i], NULL) == 0, "its end");
}

static void
destroy_all(void)
{
	for (unsigned i = 0; i < KINDS; i++) {
		uint64_t live = stats_of(pools[i]).live_objects;
		int err = tide_pool_destroy(pools[i]);

		STRESS_CHECK(err == (live > 0 ? -EBUSY : 0), "%s", strerror(-err));
	}
	STRESS_CHECK(tide_check() == 0, "after the destroys");
}

/* What the thread that forks owns, here and in its children. */
static __thread struct held owned[KINDS][OWNED];

static void
get_owned(void)
{
	for (unsigned i = 0; i < KINDS; i++)
		for (unsigned j = 0; j < OWNED; j++)
			while (!get_one(pools[i], &owned[i][j]))
				sched_yield();
}

static void
check_owned(void)
{
	for (unsigned i = 0; i < KINDS; i++)
		for (unsigned j = 0; j < OWNED; j++) {
			struct held *held = &owned[i][j];

			STRESS_CHECK(tide_ref_is_live(held->pool, held->ref), "its owner is here");
			STRESS_CHECK(held->obj->owner != 0, "somebody wrote to it");
			STRESS_CHECK(tide_ref_of(held->pool, held->obj) == held->ref, "another");
		}
}

static void
put_owned(void)
{
	for (unsigned i = 0; i < KINDS; i++)
		for (unsigned j = 0; j < OWNED; j++)
			put_held(&owned[i][j]);
}

/* In a child the thread that forked is alone. It owns what it owned. */
static void
be_a_child(unsigned generation)
{
	uint64_t finis_before = atomic_load(&finis);
	uint64_t inits_before = atomic_load(&inits);
	uint64_t released_before, created_before;
	uint32_t dice = stress_below(&random_state, 8);

	alarm(HANG_SECONDS);
	if (dice == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(0);
	}
	check_all("at birth");
	check_owned();
	released_before = stats_of(pools[HOOKED]).released;
	created_before = stats_of(pools[HOOKED]).created;
	if (variant != QUARANTINE)
		for (unsigned i = 0; i < KINDS; i++)
			if (i != HOOKED)
				take_what_is_idle(pools[i]);
	work(100);
	tide_thread_flush();
	check_all("after work");
	if (generation < 2 && dice < 3)
		fork_once(generation + 1);
	if (!SANITIZED && dice < 5)
		have_threads();
	check_all("at the end");
	/* Each fini that was counted was run, and each init. */
	STRESS_CHECK(atomic_load(&finis) - finis_before ==
			     stats_of(pools[HOOKED]).released - released_before,
		     "finis");
	STRESS_CHECK(atomic_load(&inits) - inits_before ==
			     stats_of(pools[HOOKED]).created - created_before,
		     "inits");
	check_owned();
	put_owned();
	destroy_all();
	_exit(0);
}

void
fork_once(unsigned generation)
{
	int status;
	pid_t pid = fork();

	STRESS_CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		if (!in_hook)
			be_a_child(generation);
		born_in_hook = generation;
		return;
	}
	STRESS_CHECK(waitpid(pid, &status, 0) == pid, "%s", strerror(errno));
	STRESS_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		     "the child ended with %#x (%s), at fork %" PRIu64, (unsigned)status,
		     WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "exit",
		     atomic_load(&forks_done));
	if (generation == 1)
		alarm(HANG_SECONDS);
	atomic_fetch_add(&forks_done, 1);
}

/* ---- those who fork ------------------------------------------------------- */

/* One fork in three comes from a hook: the init, reset or fini of what we get and put. */
static void
fork_in_hook(void)
{
	struct held held;

	atomic_fetch_add(&hook_forks, 1);
	forks_in_hook = true;
	while (forks_in_hook && born_in_hook == 0)
		if (get_one(pools[HOOKED], &held))
			put_held(&held);
	if (born_in_hook != 0)
		be_a_child(born_in_hook);
}

static void *
be_forker(void *number)
{
	unsigned forks = forks_wanted / FORKERS;

	random_state = stress_stream(0x464f524b + (uintptr_t)number + variant * 16);
	get_owned();
	for (unsigned i = 0; i < forks; i++) {
		if (stress_below(&random_state, 3) == 0)
			fork_in_hook();
		else
			fork_once(1);
		check_owned();
		if (variant == FAILING && number == NULL && i == forks / 2)
			STRESS_CHECK(forbid_membarrier(EPERM), "%s", strerror(errno));
	}
	put_owned();
	return NULL;
}

/* ---- the variants --------------------------------------------------------- */

static void
create_pools(void)
{
	static const struct tide_pool_config configs[KINDS] = {
		[PLAIN] = { .name = "plain", .object_bytes = 64, .reset = tide_reset_zero },
		[CAPPED] = { .name = "capped",
			     .object_bytes = 96,
			     .reset = tide_reset_zero,
			     .max_bytes = (size_t)96 * 100 },
		[HOOKED] = { .name = "hooked",
			     .object_bytes = 200,
			     .init = init_hook,
			     .reset = reset_hook,
			     .fini = fini_hook,
			     .verify = verify_hook },
		[LARGE] = { .name = "large", .object_bytes = 80000, .reset = tide_reset_zero },
	};

	for (unsigned i = 0; i < KINDS; i++) {
		struct tide_pool_config config = configs[i];

		config.config_bytes = sizeof(config);
		pools[i] = tide_pool_create(&config);
		STRESS_CHECK(pools[i] != NULL, "%s", strerror(errno));
	}
}

static int
run_variant(void)
{
	pthread_t workers[WORKERS], forkers[FORKERS];

	alarm(HANG_SECONDS);
	setenv("TIDENUMA", "fake=4", 1);
	if (variant == QUARANTINE)
		setenv("TIDEDEBUG", "quarantine=16", 1);
	if (variant == VERIFY)
		setenv("TIDEDEBUG", "verifyreset=1", 1);
	if (variant == WITHOUT && !forbid_membarrier(ENOSYS)) {
		printf("skipped: seccomp: %s\n", strerror(errno));
		return STRESS_SKIP;
	}
	tide_set_misuse_handler(ignore_report, NULL);
	create_pools();
	for (uintptr_t i = 0; i < WORKERS; i++)
		STRESS_CHECK(pthread_create(&workers[i], NULL, be_workers,
					    (void *)(uintptr_t)stress_stream(i + variant * 16)) ==
				     0,
			     "a worker");
	for (uintptr_t i = 0; i < FORKERS; i++)
		STRESS_CHECK(pthread_create(&forkers[i], NULL, be_forker, (void *)i) == 0,
			     "a forker");
	for (unsigned i = 0; i < FORKERS; i++)
		STRESS_CHECK(pthread_join(forkers[i], NULL) == 0, "its end");
	atomic_store(&stop, true);
	for (unsigned i = 0; i < WORKERS; i++)
		STRESS_CHECK(pthread_join(workers[i], NULL) == 0, "its end");
	check_all("in the parent");
	STRESS_CHECK(atomic_load(&finis) == stats_of(pools[HOOKED]).released, "finis");
	STRESS_CHECK(atomic_load(&inits) == stats_of(pools[HOOKED]).created, "inits");
	destroy_all();
	STRESS_CHECK(atomic_load(&inits) == atomic_load(&finis), "finis of all");
	printf("%s: %" PRIu64 " forks, %" PRIu64 " of them in hooks; %" PRIu64 " inits\n",
	       variant_names[variant], atomic_load(&forks_done), atomic_load(&hook_forks),
	       atomic_load(&inits));
	return 0;
}

int
main(int argc, char **argv)
{
	const char *forks = getenv("TIDE_FORKS");
	int result = 0;

	stress_start(argc, argv);
	forks_wanted = forks != NULL ? (unsigned)strtoul(forks, NULL, 0) : FORKS / STRESS_SLOWDOWN;
	forks_wanted = (forks_wanted + VARIANTS - 1) / VARIANTS;
	for (variant = 0; variant < VARIANTS; variant++) {
		int status = 0;
		pid_t pid;

		fflush(stdout);
		pid = fork();
		if (pid == 0) {
			status = run_variant();
			fflush(stdout);
			_exit(status);
		}
		if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) {
			fprintf(stderr, "%s: ended with %#x\n", variant_names[variant],
				(unsigned)status);
			return 1;
		}
		if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != STRESS_SKIP)
			return 1;
		if (WEXITSTATUS(status) != 0)
			result = STRESS_SKIP;
	}
	return result;
}
