/* SPDX-License-Identifier: MIT */
/*
 * The pools of stress_pool.c, of many kinds; the hooks of some, which notice when
 * they are called at a wrong time; and our own count of what was done, which the
 * statistics must agree with at quiet points.
 */
#include "config.h"

#include <errno.h>

#include "stress_pool.h"

#define RECORDS_MAX (1u << 20)

/* clang-format off */
struct subject subjects[SUBJECTS] = {
	{ .name = "parts", .bytes = 16, .weight = 16 },
	{ .name = "odd", .bytes = 41, .weight = 12, .wipes = true },
	{ .name = "conns", .bytes = 200, .weight = 16, .hooked = true },
	{ .name = "bound", .bytes = 128, .weight = 12, .placement = TIDE_BIND, .node = 2 },
	{ .name = "spread", .bytes = 513, .weight = 8, .placement = TIDE_INTERLEAVE },
	{ .name = "scarce", .bytes = 1000, .weight = 12, .max_objs = 150 },
	{ .name = "scarce-conns", .bytes = 300, .weight = 12, .max_objs = 120, .hooked = true },
	{ .name = "pages", .bytes = 4096, .weight = 6 },
	{ .name = "blocks", .bytes = 32768, .weight = 3 },
	{ .name = "large", .bytes = 65536, .weight = 2, .max_objs = 40 },
};
/* clang-format on */

/* ---- the hooks of the hooked pools ---------------------------------------- */

/* An object's other half: says whether a hook came at a wrong time. */
struct record {
	_Atomic int state;
	struct subject *subject;
	void *part; /* of another pool: hooks may use tidepool */
};

static struct record records[RECORDS_MAX];
_Atomic uint64_t records_used;
static _Atomic uint64_t init_calls, reset_calls;

struct record *
record_of(const void *obj)
{
	uint64_t number;

	memcpy(&number, obj, sizeof(number));
	STRESS_CHECK(number > 0 && number < RECORDS_MAX, "record number %#" PRIx64, number);
	return &records[number];
}

void
set_state(struct record *record, int from, int to)
{
	int was = atomic_exchange(&record->state, to);

	STRESS_CHECK(was == from, "object in state %d, not %d", was, from);
}

static int
init_conn(void *obj, void *ctx)
{
	struct subject *subject = ctx;
	unsigned char *bytes = obj;
	uint64_t number;
	void *part;

	for (size_t i = 0; i < subject->bytes; i++)
		STRESS_CHECK(bytes[i] == 0, "init of '%s': byte %zu is %#x", subject->name, i,
			     bytes[i]);
	memset(obj, 0x5a, subject->bytes);
	/* Whatever a failed init leaves must be cleared. */
	if (atomic_fetch_add(&init_calls, 1) % 97 == 96)
		return -EIO;
	part = tide_get(PARTS->pool);
	if (part == NULL)
		return -errno;
	number = 1 + atomic_fetch_add(&records_used, 1);
	STRESS_CHECK(number < RECORDS_MAX, "out of records");
	records[number].subject = subject;
	records[number].part = part;
	memset(part, 0x77, PARTS->bytes);
	memcpy(obj, &number, sizeof(number));
	memset(bytes + HEADER, PATTERN, subject->bytes - HEADER);
	set_state(&records[number], UNUSED, MADE);
	atomic_fetch_add(&subject->inits, 1);
	return 0;
}

static int
reset_conn(void *obj, size_t used, void *ctx)
{
	struct record *record = record_of(obj);

	STRESS_CHECK(record->subject == ctx && atomic_load(&record->state) == MADE,
		     "reset of a live object");
	if (atomic_fetch_add(&reset_calls, 1) % 61 == 60)
		return 1;
	if (used > HEADER)
		memset((unsigned char *)obj + HEADER, PATTERN, used - HEADER);
	return 0;
}

static void
fini_conn(void *obj, void *ctx)
{
	struct record *record = record_of(obj);
	struct subject *subject = ctx;

	STRESS_CHECK(record->subject == subject, "fini by another pool");
	set_state(record, MADE, UNMADE);
	tide_put(PARTS->pool, record->part);
	atomic_fetch_add(&subject->finis, 1);
}

/* ---- quiet points --------------------------------------------------------- */

static void
check_subject(struct subject *subject, int64_t extra)
{
	struct tide_pool_stats stats;
	uint64_t gets = atomic_load(&subject->gets);
	uint64_t puts = atomic_load(&subject->puts);
	uint64_t live = (uint64_t)(atomic_load(&subject->live) + extra);

	tide_pool_stats_read(subject->pool, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == live, "'%s': %" PRIu64 " live, not %" PRIu64,
		     subject->name, stats.live_objects, live);
	STRESS_CHECK(stats.created == stats.released + stats.live_objects + stats.idle_objects,
		     "'%s': lost", subject->name);
	STRESS_CHECK(stats.gets == stats.puts + stats.discards + stats.live_objects,
		     "'%s': gets and puts", subject->name);
	STRESS_CHECK(stats.discards == atomic_load(&subject->discards), "'%s': discards",
		     subject->name);
	if (atomic_load(&subject->undone) == 0)
		STRESS_CHECK(stats.gets == gets && stats.puts == puts,
			     "'%s': %" PRIu64 " gets, not %" PRIu64 "; %" PRIu64
			     " puts, not %" PRIu64,
			     subject->name, stats.gets, gets, stats.puts, puts);
	if (subject->hooked)
		STRESS_CHECK(stats.created == atomic_load(&subject->inits) &&
				     stats.released == atomic_load(&subject->finis),
			     "'%s': inits or finis", subject->name);
}

/* Nobody is inside tidepool. Each hooked object has a part, that init got. */
void
check_quiet(void)
{
	int64_t parts = 0;

	STRESS_CHECK(tide_check() == 0, "tide_check");
	for (size_t i = 0; i < SUBJECTS; i++)
		parts += (int64_t)(atomic_load(&subjects[i].inits) -
				   atomic_load(&subjects[i].finis));
	for (size_t i = 1; i < SUBJECTS; i++)
		check_subject(&subjects[i], 0);
	/* Of the parts, hooks' gets and puts are not in our count of either. */
	atomic_fetch_add(&PARTS->undone, 1);
	check_subject(PARTS, parts);
	STRESS_CHECK(atomic_load(&reports) == atomic_load(&misuses), "reports");
}

/* ---- create and destroy --------------------------------------------------- */

void
create_pools(void)
{
	for (size_t i = 0; i < SUBJECTS; i++) {
		struct subject *subject = &subjects[i];
		struct tide_pool_config config = {
			.config_bytes = sizeof(config),
			.name = subject->name,
			.object_bytes = subject->bytes,
			.reset = subject->wipes ? tide_reset_wipe : tide_reset_zero,
			.max_bytes = subject->max_objs * subject->bytes,
			.placement = subject->placement,
			.node = subject->node,
		};

		if (subject->hooked) {
			config.init = init_conn;
			config.reset = reset_conn;
			config.fini = fini_conn;
			config.ctx = subject;
		}
		subject->pool = tide_pool_create(&config);
		STRESS_CHECK(subject->pool != NULL, "create: %s", strerror(errno));
	}
}

void
destroy_pools(void)
{
	struct tide_stats stats;

	/* The parts last: the hooks use them. */
	for (size_t i = SUBJECTS; i-- > 0;) {
		struct subject *subject = &subjects[i];

		STRESS_CHECK(tide_pool_destroy(subject->pool) == 0, "destroy '%s'", subject->name);
		STRESS_CHECK(atomic_load(&subject->inits) == atomic_load(&subject->finis),
			     "'%s': %" PRIu64 " inits, %" PRIu64 " finis", subject->name,
			     atomic_load(&subject->inits), atomic_load(&subject->finis));
	}
	for (uint64_t i = 1; i <= atomic_load(&records_used); i++)
		STRESS_CHECK(atomic_load(&records[i].state) == UNMADE, "an object without fini");
	tide_stats_read(&stats, sizeof(stats));
	STRESS_CHECK(stats.pools == 0 && stats.live_objects == 0 && stats.idle_objects == 0,
		     "something is left");
	STRESS_CHECK(stats.misuses == atomic_load(&misuses), "misuses");
}
