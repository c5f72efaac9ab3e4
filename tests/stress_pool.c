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

#include "stress_pool.h"

#define THREADS 16
#define OPS     (24000u / STRESS_SLOWDOWN)
#define ROUNDS  3
#define CHURN   64 /* threads a round */

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

int
main(int argc, char **argv)
{
	uint64_t random, gets = 0;
	unsigned rounds = 0;

	stress_start(argc, argv);
	random = stress_stream(0);
	setenv("TIDENUMA", "fake=4", 0);
	tide_set_misuse_handler(on_misuse, NULL);
	create_pools();
	STRESS_CHECK(pthread_key_create(&late_key, put_late) == 0, "key");
	pthread_barrier_init(&parked, NULL, THREADS + 1);
	pthread_barrier_init(&unparked, NULL, THREADS + 1);
	while (stress_goes_on(rounds, ROUNDS))
		run_round(rounds++);
	empty_mailbox(&random);
	check_quiet();
	for (size_t i = 0; i < SUBJECTS; i++)
		gets += atomic_load(&subjects[i].gets);
	destroy_pools();
	STRESS_CHECK(atomic_load(&misuses) > 0 && atomic_load(&records_used) > 0, "too little");
	printf("%u threads, %" PRIu64 " gets, %" PRIu64 " misuses, each reported once\n",
	       rounds * CHURN, gets, atomic_load(&misuses));
	return 0;
}
