/* SPDX-License-Identifier: MIT */
/*
 * The gate under pressure: threads that fill their caches and go to sleep, and
 * threads that want all there is of a pool with max_bytes, and so drain those
 * caches, while the owners wake at any moment. Nothing is lost or has two owners;
 * and when all owners sleep, all that they cached can be got (G), to the last one.
 *
 * Three times, each in a process of its own: with membarrier; without it from the
 * start; and with one that begins to fail half way, when the gates have to become
 * strong under the hands of their owners. seccomp takes it away.
 */
#include "config.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <tide.h>

#include "forbid.h"
#include "stress.h"

#define SLEEPERS     10
#define TAKERS       4
#define ROUNDS       6
#define NAPS         (400u / STRESS_SLOWDOWN)
#define OBJECTS      160
#define OBJECT_BYTES 96
#define WORDS        (OBJECT_BYTES / 8)

enum variant { WITH, WITHOUT, FAILING };

static const char *const variant_names[] = { "with membarrier", "without membarrier",
					     "with a membarrier that begins to fail" };

static tide_pool *pool;
static pthread_barrier_t rest, drained, filled, done;
static _Atomic unsigned awake; /* sleepers that have naps to go */
static _Atomic uint64_t taken, refused;

struct sleeper {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t alarm;
	unsigned rings; /* the lock's */
	uint64_t id;
	uint64_t random;
	bool takes;
	uint64_t sequence;
	uint64_t *held[OBJECTS];
	unsigned helds;
};

static struct sleeper sleepers[SLEEPERS + TAKERS];

/* ---- objects -------------------------------------------------------------- */

static bool
get(struct sleeper *self)
{
	uint64_t *obj = tide_get(pool);

	if (obj == NULL) {
		STRESS_CHECK(errno == ENOMEM, "%s", strerror(errno));
		atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
		return false;
	}
	self->sequence++;
	for (unsigned i = 0; i < WORDS; i++) {
		STRESS_CHECK(obj[i] == 0, "a new object has %#" PRIx64, obj[i]);
		obj[i] = self->id << 32 | (self->sequence & UINT32_MAX);
	}
	STRESS_CHECK(self->helds < OBJECTS, "more than there may be");
	self->held[self->helds++] = obj;
	return true;
}

static void
put_all(struct sleeper *self)
{
	while (self->helds > 0) {
		uint64_t *obj = self->held[--self->helds];

		for (unsigned i = 0; i < WORDS; i++)
			STRESS_CHECK(obj[i] == obj[0] && obj[i] >> 32 == self->id,
				     "two owners: %#" PRIx64, obj[i]);
		tide_put(pool, obj);
	}
}

/* ---- threads -------------------------------------------------------------- */

/* Until somebody rings, or for a moment. */
static void
sleep_a_while(struct sleeper *self)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 1 + stress_below(&self->random, 2000000);
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_mutex_lock(&self->lock);
	while (self->rings == 0)
		if (pthread_cond_timedwait(&self->alarm, &self->lock, &until) != 0)
			break;
	self->rings = 0;
	pthread_mutex_unlock(&self->lock);
}

static void
ring(struct sleeper *other)
{
	pthread_mutex_lock(&other->lock);
	other->rings++;
	pthread_cond_signal(&other->alarm);
	pthread_mutex_unlock(&other->lock);
}

static void
nap(struct sleeper *self)
{
	unsigned n = 1 + stress_below(&self->random, 24);

	/* Several times, so that most are hits. */
	for (unsigned i = 0; i < 8; i++) {
		while (self->helds < n && get(self))
			;
		put_all(self);
	}
	sleep_a_while(self);
}

/* All that can be had, again and again, and somebody is woken meanwhile. */
static void
take(struct sleeper *self)
{
	unsigned n = OBJECTS / TAKERS + stress_below(&self->random, OBJECTS);

	while (self->helds < n && get(self))
		;
	ring(&sleepers[stress_below(&self->random, SLEEPERS)]);
	atomic_fetch_add_explicit(&taken, self->helds, memory_order_relaxed);
	put_all(self);
	/* Where others would come by. */
	tide_thread_flush();
}

static void *
work(void *arg)
{
	struct sleeper *self = arg;

	if (self->takes) {
		while (atomic_load(&awake) > 0)
			take(self);
	} else {
		for (unsigned i = 0; i < NAPS; i++)
			nap(self);
		atomic_fetch_sub(&awake, 1);
	}
	pthread_barrier_wait(&rest);
	pthread_barrier_wait(&drained);
	for (unsigned i = 0; i < OBJECTS / (SLEEPERS + TAKERS); i++)
		get(self);
	put_all(self);
	pthread_barrier_wait(&filled);
	/* The caches are full and everybody sleeps. */
	pthread_barrier_wait(&done);
	return NULL;
}

/* ---- rounds --------------------------------------------------------------- */

/* Everybody sleeps: what they have cached is there for us, all of it. */
static void
take_everything(struct sleeper *self, bool must)
{
	while (get(self))
		;
	STRESS_CHECK(!must || self->helds == OBJECTS, "got %u of %u", self->helds, OBJECTS);
	put_all(self);
	tide_thread_flush();
}

static void
run_round(struct sleeper *self, unsigned round, bool forbids)
{
	struct tide_pool_stats stats;

	atomic_store(&awake, SLEEPERS);
	for (unsigned i = 0; i < SLEEPERS + TAKERS; i++) {
		sleepers[i].random = stress_stream(round * 100 + i);
		STRESS_CHECK(pthread_create(&sleepers[i].thread, NULL, work, &sleepers[i]) == 0,
			     "create");
	}
	if (forbids) {
		usleep(5000);
		if (!forbid_membarrier(EPERM)) {
			printf("skipped: seccomp: %s\n", strerror(errno));
			fflush(stdout);
			_exit(STRESS_SKIP);
		}
	}
	pthread_barrier_wait(&rest);
	/* The first one that finds membarrier failing; owners have not seen it yet. */
	take_everything(self, false);
	pthread_barrier_wait(&drained);
	pthread_barrier_wait(&filled);
	STRESS_CHECK(tide_check() == 0, "tide_check");
	take_everything(self, true);
	STRESS_CHECK(tide_check() == 0, "tide_check");
	tide_pool_stats_read(pool, &stats, sizeof(stats));
	/* Of few generations some may have come to their end just now. */
#ifndef TIDEP_DEBUG
	STRESS_CHECK(stats.idle_objects == OBJECTS, "%" PRIu64 " idle", stats.idle_objects);
#endif
	STRESS_CHECK(stats.live_objects == 0 &&
			     stats.created - stats.released == stats.idle_objects,
		     "%" PRIu64 " live, %" PRIu64 " idle", stats.live_objects, stats.idle_objects);
	pthread_barrier_wait(&done);
	for (unsigned i = 0; i < SLEEPERS + TAKERS; i++)
		pthread_join(sleepers[i].thread, NULL);
}

static int
run(enum variant variant)
{
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "scarce",
		.object_bytes = OBJECT_BYTES,
		.reset = tide_reset_zero,
		.max_bytes = OBJECTS * OBJECT_BYTES,
	};
	struct sleeper self = { .id = 1000 };
	struct tide_stats stats;
	unsigned rounds = 0;
	bool is_slow;

	if (variant == WITHOUT && !forbid_membarrier(ENOSYS)) {
		printf("skipped: seccomp: %s\n", strerror(errno));
		return STRESS_SKIP;
	}
	is_slow = syscall(__NR_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
	STRESS_CHECK(is_slow || variant != WITHOUT, "membarrier is there");
	setenv("TIDENUMA", "fake=4", 1);
	pool = tide_pool_create(&config);
	STRESS_CHECK(pool != NULL, "create");
	pthread_barrier_init(&rest, NULL, SLEEPERS + TAKERS + 1);
	pthread_barrier_init(&drained, NULL, SLEEPERS + TAKERS + 1);
	pthread_barrier_init(&filled, NULL, SLEEPERS + TAKERS + 1);
	pthread_barrier_init(&done, NULL, SLEEPERS + TAKERS + 1);
	for (unsigned i = 0; i < SLEEPERS + TAKERS; i++) {
		pthread_mutex_init(&sleepers[i].lock, NULL);
		pthread_cond_init(&sleepers[i].alarm, NULL);
		sleepers[i].id = i + 1;
		sleepers[i].takes = i >= SLEEPERS;
	}
	while (stress_goes_on(rounds, ROUNDS)) {
		run_round(&self, rounds, variant == FAILING && rounds == ROUNDS / 2);
		rounds++;
	}
	tide_stats_read(&stats, sizeof(stats));
	is_slow |= variant == FAILING && rounds > ROUNDS / 2;
	STRESS_CHECK(stats.slow_gates == is_slow, "slow_gates is %" PRIu64, stats.slow_gates);
	STRESS_CHECK(stats.misuses == 0, "misuses");
	STRESS_CHECK(tide_pool_destroy(pool) == 0, "destroy");
	STRESS_CHECK(atomic_load(&taken) > 0 && atomic_load(&refused) > 0, "too little");
	printf("%s: %" PRIu64 " taken, %" PRIu64 " times none was left, slow_gates %" PRIu64 "\n",
	       variant_names[variant], atomic_load(&taken), atomic_load(&refused),
	       stats.slow_gates);
	fflush(stdout);
	return 0;
}

int
main(int argc, char **argv)
{
	int result = 0;

	stress_start(argc, argv);
	stress_seconds /= 3;
	for (enum variant variant = WITH; variant <= FAILING; variant++) {
		pid_t child = fork();
		int status;

		STRESS_CHECK(child >= 0, "fork");
		clock_gettime(CLOCK_MONOTONIC, &stress_began);
		if (child == 0) {
			alarm(stress_seconds > 0 ? 0 : 120);
			exit(run(variant));
		}
		STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
		if (WIFEXITED(status) && WEXITSTATUS(status) == STRESS_SKIP)
			result = STRESS_SKIP;
		else
			STRESS_CHECK(status == 0, "%s: status %#x", variant_names[variant],
				     (unsigned)status);
	}
	return result;
}
