/* SPDX-License-Identifier: MIT */
/*
 * pthread_cancel() on threads at work in tidepool, wherever they are.
 *
 * Deferred: none of our calls is a cancellation point, and none becomes one by a
 * hook, so nothing is lost but what the threads held. Asynchronously: a thread loses
 * at most the one object it was getting or putting. Either way the others go on,
 * what the cancelled had cached is found by them, tide_check() is content and the
 * pool can be destroyed once what was held is put.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include <tide.h>

#include "stress.h"

#define ROUNDS       (480u / STRESS_SLOWDOWN)
#define AT_ONCE      4
#define BULK         24
#define FORK_EVERY   100 /* rounds of the others */
#define OBJECT_BYTES 96

static tide_pool *plain, *hooked, *large, *scarce;
static _Atomic uint64_t inits, finis;
static _Atomic bool is_over;
static _Atomic uint64_t others_pairs;

/* ---- hooks that are cancellation points ----------------------------------- */

static int
init_at_a_point(void *obj, void *ctx)
{
	(void)ctx;
	pthread_testcancel();
	*(uint64_t *)obj = 1;
	atomic_fetch_add(&inits, 1);
	pthread_testcancel();
	return 0;
}

static int
reset_at_a_point(void *obj, size_t used, void *ctx)
{
	uint64_t *lives = obj;

	(void)ctx;
	pthread_testcancel();
	memset(lives + 1, 0, used - sizeof(*lives));
	pthread_testcancel();
	/* Some break now and then, so that there are finis all the time. */
	return ++*lives % 50 == 0;
}

static void
fini_at_a_point(void *obj, void *ctx)
{
	(void)ctx;
	pthread_testcancel();
	*(uint64_t *)obj = 0;
	atomic_fetch_add(&finis, 1);
	pthread_testcancel();
}

/* ---- threads -------------------------------------------------------------- */

struct victim {
	pthread_t thread;
	unsigned kind;
	int type;
	_Atomic uint64_t rounds;
	/* Deferred: what it holds, for its cleanup handler. */
	tide_pool *pool;
	void *objs[BULK];
	size_t n;
};

static void
put_held(void *arg)
{
	struct victim *self = arg;

	while (self->n > 0)
		tide_put(self->pool, self->objs[--self->n]);
}

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	(void)ref;
	(void)arg;
	pthread_testcancel();
	return 0;
}

/* A get and a put of each kind there is. Between them are cancellation points. */
static void
pair(struct victim *self)
{
	bool points = self->type == PTHREAD_CANCEL_DEFERRED;
	tide_pool *pools[] = { plain, hooked, large, scarce };
	tide_pool *pool = pools[self->kind % 4];
	tide_ref ref = 0;
	void *obj;

	self->pool = pool;
	switch (self->kind / 4 % 3) {
	case 0:
		obj = tide_get(pool);
		if (obj == NULL)
			break;
		self->objs[self->n++] = obj;
		if (points)
			pthread_testcancel();
		self->n--;
		tide_put(pool, obj);
		break;
	case 1:
		if (tide_get_bulk(pool, self->objs, BULK) != 0)
			break;
		self->n = BULK;
		if (points)
			pthread_testcancel();
		self->n = 0;
		tide_put_bulk(pool, self->objs, BULK);
		if (self->rounds % 8 == 0)
			tide_thread_flush();
		break;
	default:
		obj = tide_get_ref(pool, &ref);
		if (obj == NULL)
			break;
		self->objs[self->n++] = obj;
		/* A pin is the thread's own to lose, as an object that it holds. */
		if (points)
			tide_pin(pool, ref);
		if (self->rounds % 16 == 0)
			tide_pool_each(pool, visit, NULL);
		self->n--;
		tide_put_ref(pool, ref);
		if (points)
			tide_unpin(pool, obj);
		obj = tide_get(pool);
		if (obj != NULL && self->rounds % 4 == 0)
			tide_discard(pool, obj);
		else
			tide_put(pool, obj);
		break;
	}
}

static void *
work_until_cancelled(void *arg)
{
	struct victim *self = arg;

	pthread_setcanceltype(self->type, NULL);
	if (self->type == PTHREAD_CANCEL_DEFERRED) {
		pthread_cleanup_push(put_held, self);
		for (;; self->rounds++) {
			pair(self);
			pthread_testcancel();
		}
		pthread_cleanup_pop(0);
	}
	for (;; self->rounds++)
		pair(self);
	return NULL;
}

/* A fork waits until nobody is in the middle of a change, and so for no one that is gone. */
static void
fork_once(void)
{
	pid_t child = fork();
	int status;

	STRESS_CHECK(child >= 0, "fork");
	if (child == 0) {
		void *objs[40];

		STRESS_CHECK(tide_get_bulk(plain, objs, 40) == 0, "get_bulk");
		tide_put_bulk(plain, objs, 40);
		STRESS_CHECK(tide_check() == 0, "tide_check in a child");
		_exit(0);
	}
	STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
	STRESS_CHECK(status == 0, "a child: status %#x", (unsigned)status);
}

/* It must get on, whatever happens to the others. */
static void *
go_on(void *arg)
{
	void *objs[40];

	(void)arg;
	while (!atomic_load(&is_over)) {
		tide_pool *pools[] = { plain, hooked, large };

		for (unsigned p = 0; p < 3; p++) {
			STRESS_CHECK(tide_get_bulk(pools[p], objs, 40) == 0, "get_bulk");
			for (unsigned i = 0; i < 40; i++)
				STRESS_CHECK(((uint64_t *)objs[i])[1] == 0,
					     "a new object has %#" PRIx64,
					     ((uint64_t *)objs[i])[1]);
			for (unsigned i = 0; i < 40; i++)
				((uint64_t *)objs[i])[1] = ~UINT64_C(0);
			tide_put_bulk(pools[p], objs, 40);
		}
		if (atomic_fetch_add(&others_pairs, 1) % FORK_EVERY == 0 && !THREAD_SANITIZED)
			fork_once();
	}
	return NULL;
}

static tide_pool *
new_pool(const char *name, size_t bytes, bool with_hooks, size_t max_objs)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = name,
		.object_bytes = bytes,
		.init = with_hooks ? init_at_a_point : NULL,
		.reset = with_hooks ? reset_at_a_point : tide_reset_zero,
		.fini = with_hooks ? fini_at_a_point : NULL,
		.max_bytes = max_objs * bytes,
	});

	STRESS_CHECK(pool != NULL, "create");
	return pool;
}

/* ---- rounds --------------------------------------------------------------- */

static uint64_t
live_of(const tide_pool *pool)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects + stats.idle_objects + stats.released == stats.created,
		     "lost");
	return stats.live_objects;
}

static int
put_all_of(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	STRESS_CHECK(tide_put_ref(arg, ref) == 0, "put_ref");
	return 0;
}

static void
cancel_some(int type, unsigned round, uint64_t *random)
{
	struct victim victims[AT_ONCE] = { 0 };
	void *result;

	for (unsigned i = 0; i < AT_ONCE; i++) {
		victims[i].type = type;
		victims[i].kind = round * AT_ONCE + i;
		STRESS_CHECK(pthread_create(&victims[i].thread, NULL, work_until_cancelled,
					    &victims[i]) == 0,
			     "create");
	}
	for (unsigned i = 0; i < AT_ONCE; i++) {
		/* At once now and then: it may be in its very first call. */
		if (stress_below(random, 4) > 0)
			while (atomic_load(&victims[i].rounds) < stress_below(random, 40))
				sched_yield();
		STRESS_CHECK(pthread_cancel(victims[i].thread) == 0, "cancel");
	}
	/* (glibc 2.36 says NULL, not PTHREAD_CANCELED, of one that waited for us.) */
	for (unsigned i = 0; i < AT_ONCE; i++)
		STRESS_CHECK(pthread_join(victims[i].thread, &result) == 0, "join");
}

static void
run(int type)
{
	static const char *const names[] = { "plain", "hooked", "large", "scarce" };
	uint64_t random = stress_stream(1);
	tide_pool *pools[4];
	pthread_t others[2];
	unsigned rounds = 0;

	setenv("TIDENUMA", "fake=2", 1);
	plain = new_pool("plain", OBJECT_BYTES, false, 0);
	hooked = new_pool("hooked", OBJECT_BYTES, true, 0);
	large = new_pool("large", 70000, true, 0);
	scarce = new_pool("scarce", OBJECT_BYTES, false, 64);
	pools[0] = plain;
	pools[1] = hooked;
	pools[2] = large;
	pools[3] = scarce;
	for (unsigned i = 0; i < 2; i++)
		STRESS_CHECK(pthread_create(&others[i], NULL, go_on, NULL) == 0, "create");
	while (stress_goes_on(rounds, ROUNDS / AT_ONCE))
		cancel_some(type, rounds++, &random);
	atomic_store(&is_over, true);
	for (unsigned i = 0; i < 2; i++)
		STRESS_CHECK(pthread_join(others[i], NULL) == 0, "join");
	STRESS_CHECK(tide_check() == 0, "tide_check");
	for (unsigned p = 0; p < 4; p++) {
		uint64_t live = live_of(pools[p]);

		printf("%s: %" PRIu64 " live after %u cancelled\n", names[p], live,
		       rounds * AT_ONCE);
		/* Cleanup handlers put what was held, and nothing else was. */
		STRESS_CHECK(type != PTHREAD_CANCEL_DEFERRED || live == 0, "lost");
		tide_pool_each(pools[p], put_all_of, pools[p]);
		STRESS_CHECK(tide_check() == 0, "tide_check");
		STRESS_CHECK(tide_pool_destroy(pools[p]) == 0, "destroy %s", names[p]);
	}
	STRESS_CHECK(inits == finis, "%" PRIu64 " inits, %" PRIu64 " finis", inits, finis);
	printf("others did %" PRIu64 " rounds\n", others_pairs);
}

/* ---- the first call ------------------------------------------------------- */

static void *
call_first(void *arg)
{
	pthread_setcanceltype(*(int *)arg, NULL);
	/* Pending already: the first cancellation point that is not shielded ends it. */
	pthread_cancel(pthread_self());
	return tide_pool_find("none") == NULL && tide_init() == 0 ? arg : NULL;
}

static void
cancel_the_first_call(int unused)
{
	pthread_t thread;
	int type = PTHREAD_CANCEL_DEFERRED;
	void *result;

	(void)unused;
	STRESS_CHECK(pthread_create(&thread, NULL, call_first, &type) == 0, "create");
	STRESS_CHECK(pthread_join(thread, &result) == 0, "join");
	STRESS_CHECK(result == &type, "the first call is a cancellation point");
	STRESS_CHECK(tide_init() == 0, "tide_init");
}

/* ---- main ----------------------------------------------------------------- */

/* In a process of its own, which a deadlock does not outlive. */
static void
run_alone(const char *name, void (*fn)(int type), int type)
{
	pid_t child = fork();
	int status;

	STRESS_CHECK(child >= 0, "fork");
	if (child == 0) {
		alarm(stress_seconds > 0 ? 0 : 120);
		fn(type);
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
	stress_seconds /= 2;
#if ADDRESS_SANITIZED
	printf("skipped: AddressSanitizer does not see how a cancellation leaves frames\n");
	return STRESS_SKIP;
#endif
	run_alone("the first call", cancel_the_first_call, 0);
	run_alone("deferred", run, PTHREAD_CANCEL_DEFERRED);
#if THREAD_SANITIZED
	printf("asynchronous: not under ThreadSanitizer, which has locks of its own\n");
#else
	clock_gettime(CLOCK_MONOTONIC, &stress_began);
	run_alone("asynchronous", run, PTHREAD_CANCEL_ASYNCHRONOUS);
#endif
	return 0;
}
