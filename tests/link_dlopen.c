/* SPDX-License-Identifier: MIT */
/*
 * libtidepool.so comes into a program that has many threads already, and nobody
 * else's symbols: dlopen() with RTLD_LOCAL. Threads that were there before, and
 * threads that come later, use it; dlclose() while they are inside it does not
 * take it from under them, nor from under their exit hooks (-z nodelete). The
 * program keeps its own malloc throughout.
 *
 *     link_dlopen [FILE]    malloc is to be FILE's, and not libc.so's
 *
 * Runs in the build directory. Of the library it is linked with nothing.
 */
#include "config.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/link.h"

#define LIBRARY ".libs/libtidepool.so"
#define OLD     24 /* threads that are there before the library */
#define YOUNG   8  /* that come and go, once with it and once without a handle */
#define THREADS (OLD + 2 * YOUNG)

static struct link_api api;
static struct link_stress stress;
static pthread_t threads[THREADS];
static _Atomic bool is_loaded, is_closed;
static sem_t steps; /* posted by a thread that has gone a step further */

static void
wait_for(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		while (sem_wait(&steps) != 0)
			STRESS_CHECK(errno == EINTR, "sem_wait: %s", strerror(errno));
}

static void
use(uint64_t stream)
{
	link_stress_work(&stress, stream, LINK_ROUNDS / 16);
}

static void *
live_old(void *arg)
{
	uint64_t stream = (uint64_t)(uintptr_t)arg;

	sem_post(&steps);
	/* Not asleep in one place: the loader changes the storage of running threads. */
	while (!atomic_load(&is_loaded)) {
		free(malloc(100));
		usleep(1000);
	}
	use(stream);
	sem_post(&steps);
	while (!atomic_load(&is_closed))
		use(stream);
	use(stream);
	return NULL;
}

static void *
live_young(void *arg)
{
	use((uint64_t)(uintptr_t)arg);
	return NULL;
}

static void
start(unsigned n, void *(*live)(void *))
{
	STRESS_CHECK(pthread_create(&threads[n], NULL, live, (void *)(uintptr_t)n) == 0,
		     "create a thread");
}

static void
join(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		STRESS_CHECK(pthread_join(threads[i], NULL) == 0, "join");
}

static void *
load(void)
{
	void *handle = dlopen(LIBRARY, RTLD_LOCAL | RTLD_NOW);

	STRESS_CHECK(handle != NULL, "%s", dlerror());
	STRESS_CHECK(dlsym(RTLD_DEFAULT, "tide_get") == NULL, "its names are everybody's");
#define LOAD(name)                                                                                 \
	do {                                                                                       \
		void *symbol = dlsym(handle, #name);                                               \
		STRESS_CHECK(symbol != NULL, "%s", dlerror());                                     \
		memcpy(&api.name, &symbol, sizeof(symbol));                                        \
	} while (0);
	LINK_FUNCTIONS(LOAD)
#undef LOAD
	return handle;
}

int
main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "libc.so";
	void *handle;

	if (access(LIBRARY, R_OK) != 0) {
		puts("skipped: there is no shared library in this build");
		return STRESS_SKIP;
	}
	stress_start(1, argv);
	STRESS_CHECK(dlsym(RTLD_DEFAULT, "tide_get") == NULL, "it is loaded already");
	sem_init(&steps, 0, 0);
	for (unsigned i = 0; i < OLD; i++)
		start(i, live_old);
	wait_for(OLD);

	handle = load();
	STRESS_CHECK(link_malloc_is(wanted), "malloc has changed");
	link_stress_begin(&stress, &api);
	atomic_store(&is_loaded, true);
	for (unsigned i = 0; i < YOUNG; i++)
		start(OLD + i, live_young);
	wait_for(OLD);

	/* The old ones are inside it. */
	STRESS_CHECK(dlclose(handle) == 0, "%s", dlerror());
	for (unsigned i = 0; i < YOUNG; i++)
		start(OLD + YOUNG + i, live_young);
	atomic_store(&is_closed, true);
	join(0, THREADS);

	/* It is what it was: a second handle finds the pools, and no thread's caches. */
	STRESS_CHECK(dlopen(LIBRARY, RTLD_LOCAL | RTLD_NOW) == handle, "another library came");
	link_stress_end(&stress);
	STRESS_CHECK(dlclose(handle) == 0, "%s", dlerror());
	return link_malloc_is(wanted) ? EXIT_SUCCESS : EXIT_FAILURE;
}
