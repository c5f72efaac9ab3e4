/* SPDX-License-Identifier: MIT */
/*
 * server_sweep.c - what zstd-server's sweeper relies on: a walk that runs while
 * connections come and go sees each as its owner has set it up, or as nothing at
 * all, and never a byte of the connection that was there before; and a ref that
 * it has mailed is that connection's or stale.
 *
 * Most of this can only be seen by ThreadSanitizer: on x86-64 stores stay in order.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tide.h>

#include "sanitized.h"

#define WORKERS 3
#define HELD    8 /* connections a worker has at a time */

#if SANITIZED
#define WALKS 500
#else
#define WALKS 5000
#endif

struct conn {
	uint64_t worker; /* set up before `active`; plain, as in the server */
	uint64_t life;
	_Atomic uint64_t active; /* 0 = not set up yet */
	tide_ref ref;
	char rest[200];
};

static tide_pool *pool;
static atomic_bool must_stop;
static atomic_uint failures;
static uint64_t seen, unready;

/* One letter for each worker, which it takes out with an exchange. */
static _Atomic tide_ref mail[WORKERS];

static void
fail(const char *what)
{
	if (atomic_fetch_add(&failures, 1) < 10)
		fprintf(stderr, "FAIL: %s\n", what);
}

static int
look_at(void *obj, tide_ref ref, void *arg)
{
	struct conn *conn = obj;
	uint64_t active = atomic_load_explicit(&conn->active, memory_order_acquire);

	(void)arg;
	if (!active) {
		unready++;
		return 0;
	}
	seen++;
	if (conn->life != active || conn->worker < 1 || conn->worker > WORKERS)
		fail("a connection that nobody has set up like this");
	else if (conn->ref != ref)
		fail("the ref of another one");
	else
		atomic_store_explicit(&mail[conn->worker - 1], ref, memory_order_release);
	return 0;
}

static void
close_conn(struct conn **slot)
{
	if (*slot && tide_put_ref(pool, (*slot)->ref))
		fail("only its worker closes it, and it was closed");
	*slot = NULL;
}

/* As the server's expire(): who is it, if anybody? */
static void
read_mail(unsigned self, struct conn **held)
{
	tide_ref ref = atomic_exchange_explicit(&mail[self], 0, memory_order_acquire);
	struct conn *conn = tide_pin(pool, ref);

	if (!conn)
		return;
	if (conn->ref != ref || conn->worker != self + 1)
		fail("a letter for somebody else");
	for (unsigned i = 0; i < HELD; i++) {
		if (held[i] == conn)
			close_conn(&held[i]);
	}
	tide_unpin(pool, conn);
}

static void *
work(void *arg)
{
	unsigned self = (unsigned)(uintptr_t)arg;
	struct conn *held[HELD] = { NULL };

	for (uint64_t life = 1; !atomic_load(&must_stop); life++) {
		struct conn **slot = &held[life % HELD];
		tide_ref ref;

		close_conn(slot);
		*slot = tide_get_ref(pool, &ref);
		if (!*slot) {
			fail("no memory");
			break;
		}
		if ((*slot)->worker || (*slot)->ref || (*slot)->active)
			fail("a new connection with bytes of an old one");
		(*slot)->worker = self + 1;
		(*slot)->life = life;
		(*slot)->ref = ref;
		atomic_store_explicit(&(*slot)->active, life, memory_order_release);
		read_mail(self, held);
	}
	for (unsigned i = 0; i < HELD; i++)
		close_conn(&held[i]);
	return NULL;
}

int
main(void)
{
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "conns",
		.object_bytes = sizeof(struct conn),
		.reset = tide_reset_zero,
	};
	pthread_t threads[WORKERS];

	pool = tide_pool_create(&config);
	if (!pool)
		return EXIT_FAILURE;
	for (uintptr_t i = 0; i < WORKERS; i++) {
		if (pthread_create(&threads[i], NULL, work, (void *)i))
			return EXIT_FAILURE;
	}
	for (int i = 0; i < WALKS; i++)
		tide_pool_each(pool, look_at, NULL);
	atomic_store(&must_stop, true);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	printf("%d walks saw %llu connections, and %llu that were not set up\n", WALKS,
	       (unsigned long long)seen, (unsigned long long)unready);
	if (!seen)
		fail("nothing was seen");
	tide_thread_flush();
	if (tide_check() || tide_pool_destroy(pool))
		fail("something was lost");
	return atomic_load(&failures) ? EXIT_FAILURE : EXIT_SUCCESS;
}
