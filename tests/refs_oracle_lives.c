/* SPDX-License-Identifier: MIT */
/* What refs_oracle.c remembers of every life, and how pools and objects are held to it. */
#include "config.h"

#include <errno.h>

#include "refs_oracle.h"

#define TABLE_BITS 24

struct pool pools[POOLS];
struct life *lives;
uint32_t lives_n;
uint32_t generation_ends, pools_made;
uint64_t random_state;
static uint32_t *table; /* of lives by ref; 0: none, else index + 1 */
static uint64_t resets;

static unsigned reports;
uint32_t last_kind;

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	reports++;
	last_kind = report->kind;
}

void
expect_reports(unsigned n, uint32_t kind)
{
	STRESS_CHECK(reports == n, "%u reports, not %u", reports, n);
	STRESS_CHECK(n == 0 || kind == 0 || last_kind == kind, "%s, not %s",
		     tide_misuse_name(last_kind), tide_misuse_name(kind));
	reports = 0;
}

uint32_t
below(uint32_t n)
{
	return stress_below(&random_state, n);
}

/* ---- all refs ever -------------------------------------------------------- */

static uint32_t *
table_at(tide_ref ref)
{
	uint64_t hash = ref * UINT64_C(0x9e3779b97f4a7c15) >> (64 - TABLE_BITS);

	while (table[hash] != 0 && lives[table[hash] - 1].ref != ref)
		hash = (hash + 1) & ((UINT64_C(1) << TABLE_BITS) - 1);
	return &table[hash];
}

uint32_t
life_of(tide_ref ref)
{
	return *table_at(ref) - 1;
}

/* ---- hooks ---------------------------------------------------------------- */

static int
init_hook(void *obj, void *ctx)
{
	struct pool *pool = ctx;
	const unsigned char *bytes = obj;

	for (size_t i = 0; i < pool->bytes; i++)
		STRESS_CHECK(bytes[i] == 0, "init: byte %zu is %#x", i, bytes[i]);
	pool->inits++;
	return 0;
}

static int
reset_hook(void *obj, size_t used, void *ctx)
{
	(void)ctx;
	/* Broken now and then. */
	if (++resets % 50 == 0)
		return -1;
	memset(obj, 0, used);
	return 0;
}

static void
fini_hook(void *obj, void *ctx)
{
	struct pool *pool = ctx;

	for (uint32_t i = 0; i < pool->listed; i++) {
		const struct life *life = &lives[pool->list[i]];

		STRESS_CHECK(life->obj != obj || life->pins == 0, "fini of a pinned object");
	}
	pool->finis++;
}

/* ---- pools ---------------------------------------------------------------- */

void
make_pool(struct pool *pool)
{
	static const size_t sizes[] = { 1, 16, 24, 64, 100, 128, 500, 1024, 4096, 12000, 66000 };
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "oracle",
		.reset = tide_reset_zero,
		.ctx = pool,
	};

	memset(pool, 0, sizeof(*pool));
	pool->bytes = sizes[below(sizeof(sizes) / sizeof(sizes[0]))];
	pool->hooked = below(3) == 0;
	pool->max_objs = below(3) == 0 ? 10 + below(100) : 0;
	config.object_bytes = pool->bytes;
	config.max_bytes = pool->bytes * pool->max_objs;
	config.placement = below(3) == 0 ? TIDE_INTERLEAVE : TIDE_LOCAL;
	if (pool->hooked) {
		config.init = init_hook;
		config.reset = reset_hook;
		config.fini = fini_hook;
	}
	pool->pool = tide_pool_create(&config);
	STRESS_CHECK(pool->pool != NULL, "create: %s", strerror(errno));
	pools_made++;
}

void
check_stats(struct pool *pool)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool->pool, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == pool->listed, "%" PRIu64 " are live, not %u",
		     stats.live_objects, pool->listed);
	STRESS_CHECK(stats.created == stats.live_objects + stats.idle_objects + stats.released,
		     "lost");
	STRESS_CHECK(stats.discards == pool->discards, "discards");
	STRESS_CHECK(stats.gets == stats.puts + stats.discards + pool->listed, "gets and puts");
	STRESS_CHECK(pool->undone || (stats.gets == pool->gets && stats.puts == pool->puts),
		     "%" PRIu64 " gets, not %" PRIu64, stats.gets, pool->gets);
	STRESS_CHECK(!pool->hooked ||
			     (stats.created == pool->inits && stats.released == pool->finis),
		     "hooks");
}

void
count_retired(const struct pool *pool)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pool->pool, &stats, sizeof(stats));
	generation_ends += (uint32_t)(stats.released - stats.discards - stats.broken);
}

/* ---- objects -------------------------------------------------------------- */

static unsigned char
stamp_at(uint32_t index, size_t at)
{
	return (unsigned char)(1 + (index * 31 + at * 7) % 255);
}

void
check_stamp(uint32_t index, size_t bytes)
{
	const struct life *life = &lives[index];

	for (size_t i = 0; i < bytes; i++)
		STRESS_CHECK(life->obj[i] == (i < life->used ? stamp_at(index, i) : 0),
			     "life %u: byte %zu is %#x", index, i, life->obj[i]);
}

static void
check_clean(const struct pool *pool, const unsigned char *obj)
{
	/* The same as that the first byte is zero, and each is like the one before. */
	STRESS_CHECK(obj[0] == 0 && memcmp(obj, obj + 1, pool->bytes - 1) == 0,
		     "an object of %zu bytes is not clean at the get", pool->bytes);
}

size_t
looked_at(const struct pool *pool)
{
	return pool->bytes <= 128 || below(64) == 0 ? pool->bytes : 64;
}

void
begin_life(uint32_t p, void *obj, tide_ref ref)
{
	struct pool *pool = &pools[p];
	struct life *life = &lives[lives_n];
	uint32_t *entry;

	STRESS_CHECK(ref != 0 && tide_ref_of(pool->pool, obj) == ref, "no ref of a new object");
	entry = table_at(ref);
	STRESS_CHECK(*entry == 0, "ref %#" PRIx64 " was issued before", ref);
	STRESS_CHECK(lives_n < LIVES_MAX, "too many lives");
	check_clean(pool, obj);
	*life = (struct life){ .ref = ref, .obj = obj, .pool = p, .at = pool->listed };
	life->used = pool->bytes <= 256 ? below((uint32_t)pool->bytes + 1) : below(256);
	for (size_t i = 0; i < life->used; i++)
		life->obj[i] = stamp_at(lives_n, i);
	pool->list[pool->listed++] = lives_n++;
	*entry = lives_n;
	pool->gets++;
}

void
end_life(uint32_t index, bool is_discard)
{
	struct life *life = &lives[index];
	struct pool *pool = &pools[life->pool];
	uint32_t last = pool->list[--pool->listed];

	pool->list[life->at] = last;
	lives[last].at = life->at;
	life->state = DEAD;
	if (is_discard)
		pool->discards++;
	else
		pool->puts++;
}

void
after_put(uint32_t index, bool is_discard)
{
	if (lives[index].pins > 0)
		lives[index].state = is_discard ? BREAKING : LEAVING;
	else
		end_life(index, is_discard);
}

uint32_t
any_of(const struct pool *pool)
{
	return pool->listed == 0 ? NONE : pool->list[below(pool->listed)];
}

bool
must_fail(const struct pool *pool, size_t n)
{
	return pool->max_objs != 0 && pool->listed + n > pool->max_objs;
}

void
start_oracle(void)
{
	random_state = stress_stream(0);
	tide_set_misuse_handler(on_misuse, NULL);
	lives = calloc(LIVES_MAX, sizeof(*lives));
	table = calloc((size_t)1 << TABLE_BITS, sizeof(*table));
	STRESS_CHECK(lives != NULL && table != NULL, "no memory");
	for (uint32_t p = 0; p < POOLS; p++)
		make_pool(&pools[p]);
}
