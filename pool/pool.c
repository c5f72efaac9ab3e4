/* SPDX-License-Identifier: MIT */
/*
 * Pools: created, found, reserved for, destroyed; and the registry they are in.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "numa/here.h"
#include "numa/osmem.h"
#include "numa/record.h"
#include "numa/topo.h"
#include "pool/misuse.h"
#include "pool/thread.h"

#define OBJECT_BYTES_MAX    ((size_t)64 << 20)
#define ALIGN_BYTES_MAX     ((size_t)64 << 10)
#define CACHE_BYTES_MAX     ((size_t)256 << 10) /* of one pool in one thread's cache */
#define UNCACHED_FROM_BYTES ((size_t)64 << 10)
#define CLEARS_BYTES        128u /* by the put itself: memset is faster from about here */
#define FIRST_CLASS         5u   /* magazines of 64, if CACHE_BYTES_MAX allows */

static_assert(TIDEP_MAGAZINE_OBJS_MIN << FIRST_CLASS == 64, "as measured, see DESIGN.md");
static_assert(2 * TIDEP_MAGAZINE_OBJS_MIN * UNCACHED_FROM_BYTES <= CACHE_BYTES_MAX,
	      "two of the smallest magazines fit");

/* ---- the registry --------------------------------------------------------- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
/* All below: the registry lock's. */
static struct tide_pool *first;
static struct tide_pool **by_index; /* NULL: that index is free */
static uint32_t indices;

void
tidep_pool_registry_lock(void)
{
	tidep_pool_hide();
	pthread_mutex_lock(&registry_lock);
}

void
tidep_pool_registry_unlock(void)
{
	pthread_mutex_unlock(&registry_lock);
	tidep_pool_unhide();
}

struct tide_pool *
tidep_pool_first_locked(void)
{
	return first;
}

/* Finds the pool an index. 0 or -ENOMEM. */
static int
take_index_locked(struct tide_pool *pool)
{
	struct tide_pool **grown;
	uint32_t index = 0;

	while (index < indices && by_index[index] != NULL)
		index++;
	if (index == indices) {
		grown = tidep_numa_record_alloc((indices * 2 + 16) * sizeof(struct tide_pool *));
		if (grown == NULL)
			return -ENOMEM;
		if (indices > 0)
			memcpy(grown, by_index, indices * sizeof(struct tide_pool *));
		tidep_numa_record_free(by_index);
		by_index = grown;
		indices = indices * 2 + 16;
	}
	by_index[index] = pool;
	pool->index = index;
	return 0;
}

/* Names the pool for reports: the first one of a name has it plain. */
static void
label_locked(struct tide_pool *pool)
{
	struct tide_pool *other = first;

	pool->ordinal = 1;
	while (other != NULL) {
		if (other->ordinal == pool->ordinal && strcmp(other->name, pool->name) == 0) {
			pool->ordinal++;
			other = first;
		} else {
			other = other->next;
		}
	}
	if (pool->ordinal == 1)
		snprintf(pool->label, sizeof(pool->label), "%s", pool->name);
	else
		snprintf(pool->label, sizeof(pool->label), "%.63s#%u", pool->name, pool->ordinal);
}

static int
enlist(struct tide_pool *pool)
{
	struct tide_pool **link = &first;
	int err;

	tidep_pool_registry_lock();
	err = take_index_locked(pool);
	if (err == 0) {
		label_locked(pool);
		while (*link != NULL)
			link = &(*link)->next;
		*link = pool;
	}
	tidep_pool_registry_unlock();
	return err;
}

static void
delist_locked(struct tide_pool *pool)
{
	struct tide_pool **link = &first;

	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
}

void
tidep_pool_owner_label(const struct tidep_bin *bin, char label[TIDEP_NAME_BYTES])
{
	struct tide_pool *pool;

	tidep_pool_registry_lock();
	for (pool = first; pool != NULL; pool = pool->next)
		if (tidep_pool_has_bin(pool, bin))
			break;
	/* One that is being destroyed is in the list no more. */
	snprintf(label, TIDEP_NAME_BYTES, "%s", pool != NULL ? pool->label : "?");
	tidep_pool_registry_unlock();
}

/* ---- create --------------------------------------------------------------- */

static bool
is_name(const char *name)
{
	size_t length = name == NULL ? 0 : strnlen(name, 64);

	return length >= 1 && length <= 63 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == length;
}

static int
refuse(const struct tide_pool_config *config, const char *why)
{
	fprintf(stderr, "tidepool: tide_pool_create: pool '%s': %s\n",
		config != NULL && is_name(config->name) ? config->name : "?", why);
	return -EINVAL;
}

/* Copies what the caller's struct has, of whatever version it is. */
static int
read_config(struct tide_pool_config *config, const struct tide_pool_config *from)
{
	const unsigned char *bytes = (const unsigned char *)from;
	size_t given, unit;

	memset(config, 0, sizeof(*config));
	if (from == NULL)
		return refuse(NULL, "no config");
	given = from->config_bytes;
	unit = given < offsetof(struct tide_pool_config, placement) ? sizeof(void *)
								    : sizeof(uint32_t);
	/* Older versions end at a field's end; half of a pointer is none. */
	if (given < offsetof(struct tide_pool_config, name) ||
	    (given < sizeof(*config) && given % unit != 0))
		return refuse(NULL, "config_bytes is not sizeof(struct tide_pool_config)");
	if (given < sizeof(*config)) {
		memcpy(config, from, given);
		return 0;
	}
	memcpy(config, from, sizeof(*config));
	for (size_t i = sizeof(*config); i < given; i++) {
		if (bytes[i] != 0) {
			refuse(config, "the config has fields that this version does not know");
			return -E2BIG;
		}
	}
	return 0;
}

static int
check_config(struct tide_pool_config *config)
{
	if (!is_name(config->name))
		return refuse(config, "name must match [a-z0-9_.-]{1,63}");
	if (config->object_bytes < 1 || config->object_bytes > OBJECT_BYTES_MAX)
		return refuse(config, "object_bytes must be from 1 to 64 MiB");
	if (config->align_bytes == 0)
		config->align_bytes = config->object_bytes >= 64 ? 64 : 16;
	if ((config->align_bytes & (config->align_bytes - 1)) != 0 ||
	    config->align_bytes > ALIGN_BYTES_MAX)
		return refuse(config, "align_bytes must be a power of two to 64 KiB");
	if (config->reset == NULL)
		return refuse(config, "reset is mandatory (tide_reset_zero clears an object)");
	if (config->max_bytes != 0 && config->max_bytes < config->object_bytes)
		return refuse(config, "max_bytes has no room for one object");
	if (config->placement > TIDE_BIND)
		return refuse(config, "placement must be TIDE_LOCAL, TIDE_INTERLEAVE or TIDE_BIND");
	if (config->placement == TIDE_BIND && config->node >= tidep_numa_topo.nodes)
		return refuse(config, "node: there is no such NUMA node");
	if (config->placement != TIDE_BIND && config->node != 0)
		return refuse(config, "node is for TIDE_BIND");
	if (config->flags != 0)
		return refuse(config, "flags must be 0");
	return 0;
}

static void
init_magazines(struct tide_pool *pool, uint32_t stride)
{
	unsigned class = FIRST_CLASS;

	pool->caches_objects = stride < UNCACHED_FROM_BYTES;
	pool->class_max = 0;
	while (pool->class_max + 1 < TIDEP_MAGAZINE_CLASSES &&
	       ((size_t)2 * TIDEP_MAGAZINE_OBJS_MIN << (pool->class_max + 1)) * stride <=
		       CACHE_BYTES_MAX)
		pool->class_max++;
	atomic_init(&pool->class, class < pool->class_max ? class : pool->class_max);
}

static void
init_pool(struct tide_pool *pool, const struct tide_pool_config *config)
{
	struct tidep_geometry geometry;

	tidep_arena_geometry(&geometry, config->object_bytes, config->align_bytes);
	snprintf(pool->name, sizeof(pool->name), "%s", config->name);
	pool->object_bytes = config->object_bytes;
	pool->init = config->init;
	pool->reset = config->reset;
	pool->fini = config->fini;
	pool->verify = config->verify;
	pool->ctx = config->ctx;
	pool->max_objs =
		config->max_bytes == 0 ? UINT64_MAX : config->max_bytes / config->object_bytes;
	pool->placement = config->placement;
	pool->checks_reset = tidep_pool_env.verifyreset;
	/*
	 * Larger ones, and every put that is checked or delayed, go round; so do those
	 * where init left bytes beyond `used` that a put's clearing could reach.
	 */
	if (config->reset == tide_reset_zero && config->init == NULL && !pool->checks_reset &&
	    pool->quarantine == NULL)
		pool->hooked_from = (config->object_bytes < CLEARS_BYTES ? config->object_bytes
									 : CLEARS_BYTES) +
				    1;
	pool->stride = geometry.stride;
	pool->reciprocal = geometry.reciprocal;
	pool->index_mask = (UINT64_C(1) << geometry.index_bits) - 1;
	pool->depots_bytes = pool->depots * sizeof(pool->depot[0]);
	pool->put_step = tidep_arena_put_step(geometry.index_bits);
	pool->end_life = geometry.end_life;
	init_magazines(pool, geometry.stride);
	for (unsigned i = 0; i < pool->depots; i++) {
		unsigned node = config->placement == TIDE_BIND         ? config->node
				: config->placement == TIDE_INTERLEAVE ? TIDEP_NODE_INTERLEAVE
								       : i;

		tidep_pool_depot_init(&pool->depot[i], pool, i, &geometry, node);
	}
}

/* 0 or -ENOMEM. */
static int
make_pool(const struct tide_pool_config *config, struct tide_pool **made)
{
	unsigned depots = config->placement == TIDE_LOCAL ? tidep_numa_topo.nodes : 1;
	struct tide_pool *pool;
	int err = 0;

	pool = tidep_numa_record_alloc(sizeof(*pool) + depots * sizeof(pool->depot[0]));
	if (pool == NULL)
		return -ENOMEM;
	if (tidep_pool_env.quarantine > 0) {
		pool->quarantine = tidep_pool_quarantine_create(tidep_pool_env.quarantine);
		if (pool->quarantine == NULL)
			err = -ENOMEM;
	}
	if (err == 0) {
		pool->depots = depots;
		init_pool(pool, config);
		tidep_arena_guard_init(pool);
		err = enlist(pool);
		if (err != 0)
			tidep_arena_guard_fini(pool);
	}
	if (err != 0) {
		tidep_pool_quarantine_destroy(pool->quarantine);
		tidep_numa_record_free(pool);
		return err;
	}
	*made = pool;
	return 0;
}

tide_pool *
tide_pool_create(const struct tide_pool_config *given)
{
	struct tide_pool_config config;
	struct tide_pool *pool;
	int err;

	err = tidep_pool_is_reentered(NULL, NULL, "a create") ? -EDEADLK : tide_init();
	if (err == 0)
		err = read_config(&config, given);
	if (err == 0)
		err = check_config(&config);
	if (err != 0) {
		errno = -err;
		return NULL;
	}
	/* No hook runs here, and a handler must not come into the middle of an allocation. */
	tidep_pool_hide();
	err = make_pool(&config, &pool);
	tidep_pool_unhide();
	if (err != 0) {
		errno = -err;
		return NULL;
	}
	return pool;
}

/* ---- destroy -------------------------------------------------------------- */

/* The fini of every idle object. Hooks may call tidepool: no lock is held. */
static void
finish_objects(struct tide_pool *pool, struct tidep_slab *slab)
{
	struct tidep_granule *granule = slab->granule;

	for (uint32_t i = 0; i < granule->slots; i++) {
		tidep_word *word = tidep_arena_words_of(granule) + i;

		if (tidep_arena_state(atomic_load_explicit(word, memory_order_relaxed)) !=
		    TIDEP_IDLE)
			continue;
		tidep_pool_object_finish(pool, tidep_arena_slot_at(granule, i), word,
					 TIDEP_HANDED_IDLE);
		tidep_arena_guard_shut(tidep_arena_slot_at(granule, i), pool->stride);
		tidep_arena_slot_letgo(word);
	}
}

static uint64_t
count_live_in(const struct tidep_slab *slab)
{
	uint64_t live = 0;

	for (uint32_t i = 0; i < slab->granule->slots; i++) {
		enum tidep_state state = tidep_arena_state(atomic_load_explicit(
			tidep_arena_words_of(slab->granule) + i, memory_order_relaxed));

		live += state == TIDEP_LIVE || state == TIDEP_LEAVING || state == TIDEP_BREAKING;
	}
	return live;
}

/* How many objects are live by their words. */
static uint64_t
count_live(struct tide_pool *pool)
{
	uint64_t live = 0;

	for (unsigned i = 0; i < pool->depots; i++) {
		struct tidep_bin *bin = &pool->depot[i].bin;

		pthread_mutex_lock(&bin->lock);
		for (unsigned list = 0; list < TIDEP_LISTS; list++)
			for (struct tidep_slab *slab = bin->lists[list]; slab; slab = slab->next)
				live += count_live_in(slab);
		pthread_mutex_unlock(&bin->lock);
	}
	return live;
}

static int
destroy_shielded(struct tide_pool *pool)
{
	struct tidep_counts_sum sum;
	char text[64];

	tidep_pool_registry_lock();
	tidep_pool_drain_locked(pool, true);
	tidep_pool_sum_locked(pool, &sum);
	/* The counters miss what a thread was doing as it was cancelled. */
	if (atomic_load_explicit(&pool->lost, memory_order_relaxed) > 0)
		sum.live = count_live(pool);
	if (sum.live != 0) {
		tidep_pool_registry_unlock();
		snprintf(text, sizeof(text), "%llu objects are live", (unsigned long long)sum.live);
		tidep_pool_misuse(TIDE_LEAK, pool->label, NULL, 0, 0, text);
		return -EBUSY;
	}
	atomic_store_explicit(&pool->closing, true, memory_order_relaxed);
	while (pool->caches != NULL)
		tidep_pool_cache_unbind_locked(pool->caches);
	delist_locked(pool);
	tidep_pool_registry_unlock();

	for (unsigned i = 0; i < pool->depots; i++)
		for (unsigned list = 0; list < TIDEP_LISTS; list++)
			for (struct tidep_slab *slab = pool->depot[i].bin.lists[list]; slab != NULL;
			     slab = slab->next)
				finish_objects(pool, slab);
	/* All hooks have run: what is left takes locks and frees records. */
	tidep_pool_registry_lock();
	by_index[pool->index] = NULL;
	tidep_pool_registry_unlock();
	tidep_pool_hide();
	for (unsigned i = 0; i < pool->depots; i++)
		tidep_pool_depot_fini(&pool->depot[i]);
	tidep_arena_guard_fini(pool);
	tidep_pool_quarantine_destroy(pool->quarantine);
	tidep_numa_record_free(pool);
	tidep_pool_unhide();
	return 0;
}

int
tide_pool_destroy(tide_pool *pool)
{
	int err;

	if (pool == NULL)
		return -EINVAL;
	if (tidep_pool_is_reentered(pool, NULL, "a destroy"))
		return -EDEADLK;
	/* Its object is in no count of live ones, and is not to be finalized twice. */
	if (tidep_pool_is_in_hook(pool))
		return -EBUSY;
	tidep_pool_shield();
	err = destroy_shielded(pool);
	tidep_pool_unshield();
	return err;
}

/* ---- the rest ------------------------------------------------------------- */

const char *
tide_pool_name(const tide_pool *pool)
{
	return pool->name;
}

size_t
tide_pool_object_bytes(const tide_pool *pool)
{
	return pool->object_bytes;
}

tide_pool *
tide_pool_find(const char *name)
{
	struct tide_pool *pool;

	if (name == NULL || tidep_pool_is_reentered(NULL, NULL, "a find"))
		return NULL;
	tidep_pool_registry_lock();
	for (pool = first; pool != NULL; pool = pool->next)
		if (strcmp(pool->name, name) == 0)
			break;
	tidep_pool_registry_unlock();
	return pool;
}

int
tide_pool_reserve(tide_pool *pool, size_t n)
{
	struct tidep_bin *bin = &pool->depot[pool->depots > 1 ? tidep_numa_here() : 0].bin;
	struct tide_pool_stats stats;
	int err;

	if (tidep_pool_is_reentered(pool, NULL, "a reserve"))
		return -EDEADLK;
	tide_pool_stats_read(pool, &stats, sizeof(stats));
	if (n > pool->max_objs || stats.live_objects > pool->max_objs - n)
		return -ENOMEM;
	tidep_pool_hide();
	/* Beside what is idle: that may lie on other nodes, or in caches of other threads. */
	err = tidep_arena_bin_reserve(bin, n);
	tidep_pool_unhide();
	return err;
}
