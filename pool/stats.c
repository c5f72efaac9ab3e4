/* SPDX-License-Identifier: MIT */
/*
 * Adding the counters up.
 */
#include "config.h"

#include <string.h>

#include "numa/osmem.h"
#include "numa/topo.h"
#include "pool/misuse.h"
#include "pool/thread.h"

static uint64_t
load(const _Atomic uint64_t *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

static void
add_counts(struct tidep_counts_sum *sum, const struct tidep_counts *counts)
{
	sum->hits += load(&counts->hits);
	sum->puts += load(&counts->puts);
	sum->misses += load(&counts->misses);
	sum->remote_gets += load(&counts->remote_gets);
	sum->remote_puts += load(&counts->remote_puts);
	sum->refills += load(&counts->refills);
	sum->flushes += load(&counts->flushes);
	sum->discards += load(&counts->discards);
	sum->broken += load(&counts->broken);
	sum->failed_gets += load(&counts->failed_gets);
}

void
tidep_pool_sum_locked(const struct tide_pool *pool, struct tidep_counts_sum *sum)
{
	memset(sum, 0, sizeof(*sum));
	add_counts(sum, &pool->counts);
	for (const struct tidep_cache *cache = pool->caches; cache != NULL; cache = cache->next) {
		add_counts(sum, &cache->counts);
		sum->hits += tidep_pool_gate_count(&cache->gate.gets);
		sum->puts += tidep_pool_gate_count(&cache->gate.puts);
		sum->caches++;
	}
	sum->gets = sum->hits + sum->misses + sum->remote_gets;
	/* Racing counters may be read a little apart: never below nothing. */
	if (sum->gets > sum->puts + sum->discards)
		sum->live = sum->gets - sum->puts - sum->discards;
}

static void
read_pool_locked(struct tide_pool *pool, struct tide_pool_stats *stats)
{
	struct tidep_counts_sum sum;

	tidep_pool_sum_locked(pool, &sum);
	memset(stats, 0, sizeof(*stats));
	stats->gets = sum.gets;
	stats->puts = sum.puts;
	stats->hits = sum.hits;
	stats->refills = sum.refills;
	stats->flushes = sum.flushes;
	stats->remote_puts = sum.remote_puts;
	/* Released first: it must not be seen ahead of created. */
	stats->released = load(&pool->released);
	stats->created = load(&pool->created);
	stats->live_objects = sum.live;
	if (stats->created > stats->released + sum.live)
		stats->idle_objects = stats->created - stats->released - sum.live;
	stats->live_bytes = stats->live_objects * pool->object_bytes;
	stats->idle_bytes = stats->idle_objects * pool->object_bytes;
	stats->discards = sum.discards;
	stats->broken = sum.broken;
	stats->failed_gets = sum.failed_gets;
	stats->local_gets = sum.hits + sum.misses;
	stats->caches = sum.caches;
	if (pool->caches_objects)
		stats->magazine_objects = (uint64_t)TIDEP_MAGAZINE_OBJS_MIN
					  << tidep_pool_magazine_class(pool);
	for (unsigned i = 0; i < pool->depots; i++) {
		stats->committed_bytes += tidep_arena_bin_committed(&pool->depot[i].bin) +
					  tidep_arena_bin_word_bytes(&pool->depot[i].bin);
		stats->contended += load(&pool->depot[i].contended);
	}
}

/* Gives the caller as much of a struct as its version has. */
static void
copy_out(void *dst, size_t dst_bytes, const void *src, size_t src_bytes)
{
	size_t both = dst_bytes < src_bytes ? dst_bytes : src_bytes;

	memcpy(dst, src, both);
	memset((char *)dst + both, 0, dst_bytes - both);
}

void
tide_pool_stats_read(const tide_pool *pool, struct tide_pool_stats *stats, size_t stats_bytes)
{
	struct tide_pool_stats full = { 0 };

	if (!tidep_pool_is_reentered(pool, NULL, "a statistics call")) {
		tidep_pool_registry_lock();
		read_pool_locked((struct tide_pool *)(uintptr_t)pool, &full);
		tidep_pool_registry_unlock();
	}
	copy_out(stats, stats_bytes, &full, sizeof(full));
}

size_t
tidep_pool_snapshot(struct tidep_snapshot *dst, size_t max)
{
	size_t pools = 0;

	tidep_pool_registry_lock();
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next) {
		if (pools < max) {
			memcpy(dst[pools].name, pool->label, sizeof(pool->label));
			dst[pools].object_bytes = pool->object_bytes;
			read_pool_locked(pool, &dst[pools].stats);
		}
		pools++;
	}
	tidep_pool_registry_unlock();
	return pools;
}

void
tide_stats_read(struct tide_stats *stats, size_t stats_bytes)
{
	struct tide_stats full = { 0 };
	bool is_started;

	if (tidep_pool_is_reentered(NULL, NULL, "a statistics call")) {
		copy_out(stats, stats_bytes, &full, sizeof(full));
		return;
	}
	/* Before tide_init() there is nothing, but the settings' defaults. */
	full.gc_percent = 100;
	full.memory_limit = INT64_MAX;
	is_started = tide_init() == 0;
	if (is_started) {
		full.gc_percent = tidep_pool_env.gc_percent;
		full.memory_limit = tidep_pool_env.memory_limit;
	}
	full.nodes = tidep_numa_topo.nodes;
	full.threads = tidep_pool_thread_count();
	full.misuses = tidep_pool_misuses();
	full.decommit_failures = load(&tidep_numa_decommit_failures);
	full.bind_failures = load(&tidep_numa_bind_failures);
	full.slow_gates = tidep_pool_gate_is_strong();
	tidep_pool_registry_lock();
	if (is_started)
		full.committed_bytes = tidep_pool_magazine_bytes();
	for (struct tide_pool *pool = tidep_pool_first_locked(); pool != NULL; pool = pool->next) {
		struct tide_pool_stats one;

		read_pool_locked(pool, &one);
		full.pools++;
		full.gets += one.gets;
		full.puts += one.puts;
		full.hits += one.hits;
		full.refills += one.refills;
		full.flushes += one.flushes;
		full.remote_puts += one.remote_puts;
		full.created += one.created;
		full.released += one.released;
		full.live_objects += one.live_objects;
		full.idle_objects += one.idle_objects;
		full.live_bytes += one.live_bytes;
		full.idle_bytes += one.idle_bytes;
		full.committed_bytes += one.committed_bytes;
	}
	tidep_pool_registry_unlock();
	copy_out(stats, stats_bytes, &full, sizeof(full));
}
