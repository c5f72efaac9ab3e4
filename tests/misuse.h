/* SPDX-License-Identifier: MIT */
/*
 * misuse.h - for the suites misuse_*.c: each misuse, with a handler that returns,
 * was reported in full, the call was refused, nothing changed, the object still
 * works. How the same calls end a process that has no handler is in crash_*.c.
 */
#ifndef TESTS_MISUSE_H
#define TESTS_MISUSE_H

#include "common.h"

static struct seen seen;
static tide_pool *pool, *other;
static unsigned char *obj; /* one live object of the pool, full of 0x5a */
static tide_ref ref;       /* its ref */

#define BYTES 100 /* in slots of 112: there is a gap between two objects */

static inline void
set_up(void)
{
	pool = NEW_POOL("mine", BYTES, .align_bytes = 16);
	other = NEW_POOL("other", BYTES, .align_bytes = 16);
	obj = tide_get_ref(pool, &ref);
	ck_assert_ptr_nonnull(obj);
	memset(obj, 0x5a, BYTES);
	tide_set_misuse_handler(see_report, &seen);
}

/* The object is as before, is its owner's, and can be put; the next get is clean. */
static inline void
tear_down(void)
{
	unsigned reports = seen.n;

	ck_assert(is_all(obj, BYTES, 0x5a));
	ck_assert(tide_ref_is_live(pool, ref));
	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_unpin(pool, obj);
	ck_assert_int_eq(tide_put_ref(pool, ref), 0);
	obj = tide_get(pool);
	ck_assert(is_all(obj, BYTES, 0));
	tide_put(pool, obj);
	ck_assert_uint_eq(seen.n, reports);
	end_pool(pool);
	end_pool(other);
}

enum call { PUT, PUT_USED, DISCARD, PUT_BULK, UNPIN, CALLS };

static inline void
call(enum call which, tide_pool *on, void *bad)
{
	switch (which) {
	case PUT:
		tide_put(on, bad);
		break;
	case PUT_USED:
		tide_put_used(on, bad, 10);
		break;
	case DISCARD:
		tide_discard(on, bad);
		break;
	case PUT_BULK:
		tide_put_bulk(on, &bad, 1);
		break;
	default:
		tide_unpin(on, bad);
	}
}

/* One more report than before, of this kind, whole; and the counters say nothing happened. */
static inline void
expect_report(enum call which, tide_pool *on, void *bad, uint32_t kind)
{
	struct tide_pool_stats before = stats_of(on), after;
	unsigned n = seen.n;
	char start_of_text[128];

	snprintf(start_of_text, sizeof(start_of_text), "tidepool: %s: pool '%s', object %#llx",
		 tide_misuse_name(kind), tide_pool_name(on), (unsigned long long)(uintptr_t)bad);
	errno = EDOM;
	call(which, on, bad);
	ck_assert_int_eq(errno, EDOM);
	ck_assert_msg(seen.n == n + 1, "%u reports of call %d", seen.n - n, (int)which);
	ck_assert_uint_eq(seen.last.report_bytes, sizeof(struct tide_misuse_report));
	ck_assert_msg(seen.last.kind == kind, "%s", seen.text);
	ck_assert_ptr_eq(seen.last.obj, bad);
	ck_assert_str_eq(seen.pool, tide_pool_name(on));
	ck_assert_msg(strncmp(seen.text, start_of_text, strlen(start_of_text)) == 0, "%s",
		      seen.text);
	ck_assert_ptr_null(strchr(seen.text, '\n'));
	after = stats_of(on);
	ck_assert_int_eq(memcmp(&before, &after, sizeof(before)), 0);
}

#endif
