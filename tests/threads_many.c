/* SPDX-License-Identifier: MIT */
/*
 * Five hundred threads at once, each with several pools, on four pretended nodes; and
 * a hundred thousand short-lived ones, one after another: they leave nothing behind,
 * neither memory nor a cache nor an entry in a list that only grows.
 *
 * The first thousand are what the others are compared with.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include <tide.h>

#include "stress.h"

#define AT_ONCE     (500u / (STRESS_SLOWDOWN > 1 ? 5 : 1))
#define IN_A_ROW    (100000u / STRESS_SLOWDOWN / (STRESS_SLOWDOWN > 1 ? 4 : 1))
#define WARM_UP     1000u
#define POOLS       6
#define HELD        30
#define GROWTH_MAX  ((size_t)2 << 20) /* 20 bytes a thread would show */
#define STACK_BYTES ((size_t)128 << 10)

/*
 * With few generations slots are used up, and others take their place: up to half of a
 * slab may be before it goes.
 */
#ifdef TIDEP_DEBUG
#define RETIRES true
#else
#define RETIRES false
#endif

static tide_pool *pools[POOLS];
static pthread_barrier_t all_hold, all_rest, checked;

static void
create_pools(void)
{
	static const size_t sizes[POOLS] = { 16, 64, 200, 1000, 4096, 70000 };
	char name[16];

	setenv("TIDENUMA", "fake=4", 1);
	for (unsigned i = 0; i < POOLS; i++) {
		snprintf(name, sizeof(name), "size-%zu", sizes[i]);
		pools[i] = tide_pool_create(&(struct tide_pool_config){
			.config_bytes = sizeof(struct tide_pool_config),
			.name = name,
			.object_bytes = sizes[i],
			.reset = tide_reset_zero,
		});
		STRESS_CHECK(pools[i] != NULL, "create");
	}
}

static void
destroy_pools(void)
{
	STRESS_CHECK(tide_check() == 0, "tide_check");
	for (unsigned i = 0; i < POOLS; i++)
		STRESS_CHECK(tide_pool_destroy(pools[i]) == 0, "destroy");
}

static struct tide_stats
read_stats(void)
{
	struct tide_stats stats;

	tide_stats_read(&stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects + stats.idle_objects + stats.released == stats.created,
		     "lost");
	return stats;
}

static uint64_t
count_caches(void)
{
	uint64_t caches = 0;

	for (unsigned i = 0; i < POOLS; i++) {
		struct tide_pool_stats stats;

		tide_pool_stats_read(pools[i], &stats, sizeof(stats));
		caches += stats.caches;
	}
	return caches;
}

/* Memory of this process that is there, in bytes. */
static size_t
read_rss(void)
{
	char text[128] = "";
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	size_t rss;

	STRESS_CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0, "statm");
	close(fd);
	STRESS_CHECK(sscanf(text, "%*u %zu", &rss) == 1, "statm");
	return rss * (size_t)sysconf(_SC_PAGESIZE);
}

static pthread_t
start(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	STRESS_CHECK(pthread_attr_init(&attr) == 0, "attr");
	STRESS_CHECK(pthread_attr_setstacksize(&attr, STACK_BYTES) == 0, "stack");
	STRESS_CHECK(pthread_create(&thread, &attr, fn, arg) == 0, "create: %s", strerror(errno));
	pthread_attr_destroy(&attr);
	return thread;
}

/* ---- at once -------------------------------------------------------------- */

static void
get_stamped(tide_pool *pool, void **objs, uint64_t stamp)
{
	for (unsigned i = 0; i < HELD; i++) {
		uint64_t *obj = objs[i] = tide_get(pool);

		STRESS_CHECK(obj != NULL, "get: %s", strerror(errno));
		STRESS_CHECK(obj[0] == 0 && obj[1] == 0, "a new object has %#" PRIx64, obj[0]);
		obj[0] = obj[1] = stamp;
	}
}

static void
put_stamped(tide_pool *pool, void *const *objs, uint64_t stamp)
{
	for (unsigned i = 0; i < HELD; i++) {
		const uint64_t *obj = objs[i];

		STRESS_CHECK(obj[0] == stamp && obj[1] == stamp, "two owners: %#" PRIx64, obj[0]);
		tide_put_used(pool, objs[i], 16);
	}
}

/* Three pools each: others than the neighbours', and all have all of them. */
static void *
hold_and_rest(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	void *objs[3][HELD];

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 3; i++)
			get_stamped(pools[(self + i * 2) % POOLS], objs[i], self);
		if (round == 2)
			pthread_barrier_wait(&all_hold);
		for (unsigned i = 0; i < 3; i++)
			put_stamped(pools[(self + i * 2) % POOLS], objs[i], self);
	}
	pthread_barrier_wait(&all_rest);
	pthread_barrier_wait(&checked);
	return NULL;
}

static void
run_at_once(void)
{
	static pthread_t threads[AT_ONCE];
	struct tide_stats stats;
	uint64_t caches = 0;

	create_pools();
	pthread_barrier_init(&all_hold, NULL, AT_ONCE);
	pthread_barrier_init(&all_rest, NULL, AT_ONCE + 1);
	pthread_barrier_init(&checked, NULL, AT_ONCE + 1);
	for (unsigned i = 0; i < AT_ONCE; i++)
		threads[i] = start(hold_and_rest, (void *)(uintptr_t)i);
	pthread_barrier_wait(&all_rest);
	/* All of them sleep, with their caches full. */
	stats = read_stats();
	STRESS_CHECK(stats.threads == AT_ONCE, "%" PRIu64 " threads", stats.threads);
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " live", stats.live_objects);
	STRESS_CHECK(stats.created >= AT_ONCE * 3 * HELD, "%" PRIu64 " created", stats.created);
	for (unsigned i = 0; i < AT_ONCE; i++)
		for (unsigned j = 0; j < 3; j++)
			caches += (i + j * 2) % POOLS < POOLS - 1; /* the last one has none */
	STRESS_CHECK(count_caches() == caches, "%" PRIu64 " caches", count_caches());
	STRESS_CHECK(tide_check() == 0, "tide_check");
	pthread_barrier_wait(&checked);
	for (unsigned i = 0; i < AT_ONCE; i++)
		pthread_join(threads[i], NULL);
	stats = read_stats();
	STRESS_CHECK(stats.threads == 0 && count_caches() == 0, "%" PRIu64 " threads",
		     stats.threads);
	printf("%u at once: %" PRIu64 " created, %" PRIu64 " caches\n", AT_ONCE, stats.created,
	       caches);
	destroy_pools();
}

/* ---- one after another ---------------------------------------------------- */

static void *
live_shortly(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	void *objs[2][HELD];

	get_stamped(pools[self % POOLS], objs[0], self + 1);
	get_stamped(pools[(self + 1) % POOLS], objs[1], self + 1);
	put_stamped(pools[self % POOLS], objs[0], self + 1);
	put_stamped(pools[(self + 1) % POOLS], objs[1], self + 1);
	return NULL;
}

static void
run_in_a_row(void)
{
	struct tide_stats before = { 0 }, after;
	size_t rss = 0;

	create_pools();
	for (unsigned i = 0; i < IN_A_ROW; i++) {
		pthread_join(start(live_shortly, (void *)(uintptr_t)i), NULL);
		if (i + 1 == WARM_UP) {
			before = read_stats();
			rss = read_rss();
		}
	}
	after = read_stats();
	printf("%u in a row: RSS %zu KiB after %u, %zu KiB at the end\n", IN_A_ROW, rss >> 10,
	       WARM_UP, read_rss() >> 10);
	/* A sanitizer keeps notes of threads and memory that are gone. */
	STRESS_CHECK(SANITIZED || read_rss() <= rss + GROWTH_MAX, "it grows");
	STRESS_CHECK(after.threads == 0 && count_caches() == 0, "%" PRIu64 " threads",
		     after.threads);
	STRESS_CHECK(after.gets >= (uint64_t)IN_A_ROW * 2 * HELD, "too little");
	/* One thread's objects at a time, on each of four nodes, are all there have to be. */
	STRESS_CHECK(RETIRES || after.created == before.created,
		     "%" PRIu64 " created, later %" PRIu64, before.created, after.created);
	STRESS_CHECK(after.idle_objects <= before.idle_objects, "%" PRIu64 " idle, later %" PRIu64,
		     before.idle_objects, after.idle_objects);
	STRESS_CHECK(RETIRES ? after.committed_bytes <= before.committed_bytes * 2
			     : after.committed_bytes == before.committed_bytes,
		     "%" PRIu64 " bytes committed, later %" PRIu64, before.committed_bytes,
		     after.committed_bytes);
	destroy_pools();
}

/* ---- main ----------------------------------------------------------------- */

static void
run_alone(const char *name, void (*fn)(void))
{
	pid_t child = fork();
	int status;

	STRESS_CHECK(child >= 0, "fork");
	if (child == 0) {
		alarm(300);
		fn();
		fflush(stdout);
		_exit(0);
	}
	STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
	STRESS_CHECK(status == 0, "%s: status %#x", name, (unsigned)status);
}

int
main(int argc, char **argv)
{
	stress_start(argc, argv);
	run_alone("at once", run_at_once);
	run_alone("in a row", run_in_a_row);
	return 0;
}
