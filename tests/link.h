/* SPDX-License-Identifier: MIT */
/*
 * What the programs share that show the ways to be linked, in C and in C++: whose
 * malloc the program has, and a small stress that reaches the library through a
 * table, so that it works for what dlsym() finds just as well.
 */
#ifndef LINK_H
#define LINK_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

#include <tide.h>

#include "stress.h"

/* ---- whose malloc? -------------------------------------------------------- */

static inline const char *
link_file_of(const char *name)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);
	Dl_info info;

	if (symbol == NULL || dladdr(symbol, &info) == 0)
		return "nowhere";
	return info.dli_fname;
}

/* All of malloc's family is in the file of that name? Says what is not. */
static inline bool
link_malloc_is(const char *wanted)
{
	static const char *const names[] = { "malloc",
					     "free",
					     "calloc",
					     "realloc",
					     "posix_memalign",
					     "aligned_alloc",
					     "malloc_usable_size" };
	bool all = true;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *file = link_file_of(names[i]);

		if (strstr(file, wanted) != NULL)
			continue;
		printf("%s is %s's, not %s's\n", names[i], file, wanted);
		all = false;
	}
	return all;
}

/* ---- the library, by whatever way ----------------------------------------- */

/* clang-format off */
#define LINK_FUNCTIONS(X)                                                       \
	X(tide_pool_create) X(tide_pool_destroy) X(tide_get) X(tide_get_ref)    \
	X(tide_put) X(tide_put_ref) X(tide_pin) X(tide_unpin)                   \
	X(tide_ref_is_live) X(tide_thread_flush) X(tide_pool_stats_read)        \
	X(tide_stats_read) X(tide_check) X(tide_reset_wipe)
/* clang-format on */

/* In C++ a member's type may not be found by the member's own name. */
#ifdef __cplusplus
#define LINK_MEMBER(name) __typeof__(::name) *name;
#else
#define LINK_MEMBER(name) __typeof__(name) *name;
#endif
struct link_api {
	LINK_FUNCTIONS(LINK_MEMBER)
};

/* For those that are linked with it. */
#define LINK_ADDRESS(name) name,
#define LINK_API_DIRECT                                                                            \
	{                                                                                          \
		LINK_FUNCTIONS(LINK_ADDRESS)                                                       \
	}

/* ---- the stress ----------------------------------------------------------- */

#define LINK_THREADS     8
#define LINK_GENERATIONS 3
#define LINK_ROUNDS      (400u / STRESS_SLOWDOWN)
#define LINK_HELD        24u
#define LINK_MAIL        64u
#define LINK_PLAIN_BYTES 100u
#define LINK_BLOCK_BYTES 40u /* of the program's malloc */

struct link_hooked {
	unsigned char *block;
	unsigned char bytes[300];
};

struct link_parcel {
	unsigned char *obj;
	tide_ref ref;
	unsigned char stamp;
};

struct link_stress {
	const struct link_api *api;
	tide_pool *plain, *hooked;
	unsigned inits, finis; /* by atomic operations */
	pthread_mutex_t lock;  /* the mail's */
	unsigned mails;
	struct link_parcel mail[LINK_MAIL];
};

/* Half of what a hook needs is the program's memory, as in most programs. */
static inline int
link_hooked_init(void *obj, void *ctx)
{
	struct link_stress *stress = (struct link_stress *)ctx;
	struct link_hooked *hooked = (struct link_hooked *)obj;

	hooked->block = (unsigned char *)malloc(LINK_BLOCK_BYTES);
	if (hooked->block == NULL)
		return -ENOMEM;
	memset(hooked->block, 0, LINK_BLOCK_BYTES);
	__atomic_fetch_add(&stress->inits, 1, __ATOMIC_RELAXED);
	return 0;
}

static inline int
link_hooked_reset(void *obj, size_t used, void *ctx)
{
	struct link_hooked *hooked = (struct link_hooked *)obj;

	(void)used;
	(void)ctx;
	memset(hooked->block, 0, LINK_BLOCK_BYTES);
	memset(hooked->bytes, 0, sizeof(hooked->bytes));
	return 0;
}

static inline void
link_hooked_fini(void *obj, void *ctx)
{
	struct link_stress *stress = (struct link_stress *)ctx;

	free(((struct link_hooked *)obj)->block);
	__atomic_fetch_add(&stress->finis, 1, __ATOMIC_RELAXED);
}

static inline void
link_expect(const unsigned char *bytes, size_t n, unsigned char wanted)
{
	for (size_t i = 0; i < n; i++)
		STRESS_CHECK(bytes[i] == wanted, "byte %zu is %#x, not %#x", i, (unsigned)bytes[i],
			     (unsigned)wanted);
}

/* An object that somebody else got, and that nobody wrote to since. */
static inline void
link_put_parcel(struct link_stress *stress, const struct link_parcel *parcel, bool by_ref)
{
	const struct link_api *api = stress->api;

	STRESS_CHECK(api->tide_pin(stress->plain, parcel->ref) == parcel->obj, "pin");
	link_expect(parcel->obj, LINK_PLAIN_BYTES, parcel->stamp);
	api->tide_unpin(stress->plain, parcel->obj);
	if (by_ref)
		STRESS_CHECK(api->tide_put_ref(stress->plain, parcel->ref) == 0, "put by ref");
	else
		api->tide_put(stress->plain, parcel->obj);
	STRESS_CHECK(!api->tide_ref_is_live(stress->plain, parcel->ref), "a stale ref is live");
}

/* Leaves a parcel for another thread, and takes one that was left. */
static inline void
link_exchange(struct link_stress *stress, struct link_parcel *parcel, uint64_t *random)
{
	struct link_parcel *other;

	pthread_mutex_lock(&stress->lock);
	if (stress->mails < LINK_MAIL) {
		stress->mail[stress->mails++] = *parcel;
		parcel->obj = NULL;
	} else {
		other = &stress->mail[stress_below(random, LINK_MAIL)];
		struct link_parcel ours = *parcel;
		*parcel = *other;
		*other = ours;
	}
	pthread_mutex_unlock(&stress->lock);
}

static inline void
link_plain_round(struct link_stress *stress, uint64_t *random)
{
	struct link_parcel held[LINK_HELD];
	unsigned n = 1 + stress_below(random, LINK_HELD);

	for (unsigned i = 0; i < n; i++) {
		void *obj = stress->api->tide_get_ref(stress->plain, &held[i].ref);

		STRESS_CHECK(obj != NULL, "get: %s", strerror(errno));
		held[i].obj = (unsigned char *)obj;
		held[i].stamp = (unsigned char)(1 + stress_below(random, 255));
		link_expect(held[i].obj, LINK_PLAIN_BYTES, 0);
		memset(obj, held[i].stamp, LINK_PLAIN_BYTES);
	}
	for (unsigned i = 0; i < n; i++) {
		if (i % 3 == 0)
			link_exchange(stress, &held[i], random);
		if (held[i].obj != NULL)
			link_put_parcel(stress, &held[i], i % 2 == 0);
	}
}

static inline void
link_hooked_round(struct link_stress *stress, uint64_t *random)
{
	size_t bytes = 1 + stress_below(random, 5000);
	void *mine = malloc(bytes);
	struct link_hooked *hooked;

	hooked = (struct link_hooked *)stress->api->tide_get(stress->hooked);
	STRESS_CHECK(hooked != NULL && mine != NULL, "get or malloc: %s", strerror(errno));
	link_expect(hooked->block, LINK_BLOCK_BYTES, 0);
	link_expect(hooked->bytes, sizeof(hooked->bytes), 0);
	memset(mine, 0x33, bytes);
	memset(hooked->block, 0x55, LINK_BLOCK_BYTES);
	memset(hooked->bytes, 0x66, sizeof(hooked->bytes));
	stress->api->tide_put(stress->hooked, hooked);
	free(mine);
}

/* What one thread does, in any number of threads at once. */
static inline void
link_stress_work(struct link_stress *stress, uint64_t stream, unsigned rounds)
{
	uint64_t random = stress_stream(stream);

	for (unsigned i = 0; i < rounds; i++) {
		link_plain_round(stress, &random);
		link_hooked_round(stress, &random);
		if (i % 64 == 63)
			stress->api->tide_thread_flush();
	}
}

static inline void
link_stress_begin(struct link_stress *stress, const struct link_api *api)
{
	struct tide_pool_config config;

	memset(stress, 0, sizeof(*stress));
	stress->api = api;
	pthread_mutex_init(&stress->lock, NULL);
	memset(&config, 0, sizeof(config));
	config.config_bytes = sizeof(config);
	config.name = "plain";
	config.object_bytes = LINK_PLAIN_BYTES;
	config.reset = api->tide_reset_wipe;
	stress->plain = api->tide_pool_create(&config);
	config.name = "hooked";
	config.object_bytes = sizeof(struct link_hooked);
	config.init = link_hooked_init;
	config.reset = link_hooked_reset;
	config.fini = link_hooked_fini;
	config.ctx = stress;
	stress->hooked = api->tide_pool_create(&config);
	STRESS_CHECK(stress->plain != NULL && stress->hooked != NULL, "create: %s",
		     strerror(errno));
}

/* All counters agree, and no cache is left of threads that are gone. */
static inline void
link_check_pool(const struct link_api *api, const tide_pool *pool, uint64_t caches_max)
{
	struct tide_pool_stats stats;

	api->tide_pool_stats_read(pool, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are live", stats.live_objects);
	STRESS_CHECK(stats.gets == stats.puts && stats.gets > 0,
		     "%" PRIu64 " gets, %" PRIu64 " puts", stats.gets, stats.puts);
	STRESS_CHECK(stats.created == stats.released + stats.idle_objects,
		     "%" PRIu64 " created, %" PRIu64 " released, %" PRIu64 " idle", stats.created,
		     stats.released, stats.idle_objects);
	STRESS_CHECK(stats.caches <= caches_max, "%" PRIu64 " caches", stats.caches);
}

/* With all other threads that used it gone. */
static inline void
link_stress_end(struct link_stress *stress)
{
	const struct link_api *api = stress->api;
	struct tide_stats stats;

	while (stress->mails > 0)
		link_put_parcel(stress, &stress->mail[--stress->mails], true);
	STRESS_CHECK(api->tide_check() == 0, "tide_check");
	link_check_pool(api, stress->plain, 1);
	link_check_pool(api, stress->hooked, 1);
	api->tide_stats_read(&stats, sizeof(stats));
	STRESS_CHECK(stats.threads <= 1, "%" PRIu64 " threads have caches", stats.threads);
	STRESS_CHECK(api->tide_pool_destroy(stress->plain) == 0, "destroy");
	STRESS_CHECK(api->tide_pool_destroy(stress->hooked) == 0, "destroy");
	STRESS_CHECK(stress->inits == stress->finis && stress->inits > 0, "%u inits, %u finis",
		     stress->inits, stress->finis);
}

struct link_worker {
	pthread_t thread;
	struct link_stress *stress;
	uint64_t stream;
};

static inline void *
link_worker_main(void *arg)
{
	struct link_worker *worker = (struct link_worker *)arg;

	link_stress_work(worker->stress, worker->stream, LINK_ROUNDS);
	return NULL;
}

/* The whole of it, with threads that come and go. */
static inline void
link_stress_run(const struct link_api *api)
{
	static struct link_stress stress;
	struct link_worker workers[LINK_THREADS];

	link_stress_begin(&stress, api);
	for (unsigned i = 0; i < LINK_THREADS * LINK_GENERATIONS; i++) {
		struct link_worker *worker = &workers[i % LINK_THREADS];

		if (i >= LINK_THREADS)
			STRESS_CHECK(pthread_join(worker->thread, NULL) == 0, "join");
		worker->stress = &stress;
		worker->stream = i;
		STRESS_CHECK(pthread_create(&worker->thread, NULL, link_worker_main, worker) == 0,
			     "create a thread");
	}
	for (unsigned i = 0; i < LINK_THREADS; i++)
		STRESS_CHECK(pthread_join(workers[i].thread, NULL) == 0, "join");
	link_stress_end(&stress);
}

#endif
