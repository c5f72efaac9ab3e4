/* SPDX-License-Identifier: MIT */
/*
 * A million random operations on a few pools, against an oracle that remembers
 * every ref that was ever issued, in pools that are gone too, and goes on asking
 * about old ones (C). It knows of every object whether it is live, how often it is
 * pinned and what is written in it; so it knows what every call must answer, which
 * puts must be reported (I), what each must visit, when max_bytes must refuse, what
 * the counters must say (D, E), and that objects come clean (A).
 *
 * A debug build has few generations: there slots retire all the time.
 */
#include "config.h"

#include <errno.h>

#include "refs_oracle.h"

#ifdef TIDEP_DEBUG
#define HOT 300 /* lives of one slot, one after the other */
#else
#define HOT 30
#endif
#define SCRIBBLE 0xee

static uint32_t walks;

static void
do_get(uint32_t p)
{
	struct pool *pool = &pools[p];
	tide_ref ref = 1;
	void *obj;

	if (pool->listed == LIVE_MAX)
		return;
	switch (below(pool->max_objs != 0 ? 2 : 3)) {
	case 0:
		obj = tide_get(pool->pool);
		break;
	case 1:
		obj = tide_get_ref(pool->pool, &ref);
		break;
	default:
		obj = tide_get_on(pool->pool, below(4));
		/* An interleaved pool has no nodes. */
		if (obj == NULL && errno == EINVAL)
			return;
	}
	STRESS_CHECK((obj == NULL) == must_fail(pool, 1), "get: %u of %zu are live: %s",
		     pool->listed, pool->max_objs, obj == NULL ? strerror(errno) : "got one");
	if (obj == NULL)
		STRESS_CHECK(errno == ENOMEM && ref <= 1, "%s", strerror(errno));
	else
		begin_life(p, obj, ref == 1 ? tide_ref_of(pool->pool, obj) : ref);
}

static void
do_get_bulk(uint32_t p)
{
	struct pool *pool = &pools[p];
	void *objs[40];
	size_t n = below(40);
	int err;

	if (pool->listed + n > LIVE_MAX)
		return;
	err = tide_get_bulk(pool->pool, objs, n);
	STRESS_CHECK((err != 0) == must_fail(pool, n), "bulk: %d", err);
	pool->undone |= err != 0;
	for (size_t i = 0; err == 0 && i < n; i++)
		begin_life(p, objs[i], tide_ref_of(pool->pool, objs[i]));
}

static void
do_put(uint32_t p)
{
	struct pool *pool = &pools[p];
	uint32_t index = any_of(pool);
	bool is_discard = false;
	struct life *life;

	if (index == NONE || lives[index].state != LIVE)
		return;
	life = &lives[index];
	check_stamp(index, looked_at(pool));
	switch (below(8)) {
	case 0:
		is_discard = true;
		tide_discard(pool->pool, life->obj);
		break;
	case 1:
	case 2:
		tide_put(pool->pool, life->obj);
		break;
	case 3:
	case 4:
		tide_put_used(pool->pool, life->obj, life->used);
		break;
	case 5:
	case 6:
		STRESS_CHECK(tide_put_ref(pool->pool, life->ref) == 0, "put by ref");
		break;
	default:
		STRESS_CHECK(tide_put_ref_used(pool->pool, life->ref, life->used) == 0,
			     "put by ref");
	}
	expect_reports(0, 0);
	after_put(index, is_discard);
}

static void
do_put_bulk(uint32_t p)
{
	struct pool *pool = &pools[p];
	void *objs[32] = { NULL };
	uint32_t put[32];
	size_t n = 0;

	for (uint32_t i = 0; i < pool->listed && n < 32; i++) {
		if (lives[pool->list[i]].state != LIVE || below(2) == 0)
			continue;
		put[n] = pool->list[i];
		objs[n++] = lives[pool->list[i]].obj;
	}
	tide_put_bulk(pool->pool, objs, n);
	expect_reports(0, 0);
	while (n-- > 0)
		after_put(put[n], false);
}

/* The same slot again and again: this is how generations are used up. */
static void
do_hot_slot(uint32_t p)
{
	struct pool *pool = &pools[p];

	for (unsigned i = 0; i < HOT && pool->listed < LIVE_MAX && !must_fail(pool, 1); i++) {
		tide_ref ref;
		void *obj = tide_get_ref(pool->pool, &ref);

		STRESS_CHECK(obj != NULL, "get: %s", strerror(errno));
		begin_life(p, obj, ref);
		STRESS_CHECK(tide_put_ref(pool->pool, ref) == 0, "put");
		end_life(lives_n - 1, false);
	}
}

/* Asks a pool about any ref, whatever it is; is it of a live object of it? */
static void
ask(uint32_t p, tide_ref ref)
{
	struct pool *pool = &pools[p];
	uint32_t index = life_of(ref);
	bool is_live = index != NONE && lives[index].state == LIVE && lives[index].pool == p;
	void *obj;

	STRESS_CHECK(tide_ref_is_live(pool->pool, ref) == is_live, "ref %#" PRIx64, ref);
	if (is_live) {
		obj = tide_pin(pool->pool, ref);
		STRESS_CHECK(obj == lives[index].obj, "pin");
		lives[index].pins++;
		return;
	}
	errno = 0;
	STRESS_CHECK(tide_pin(pool->pool, ref) == NULL && errno == ESTALE,
		     "a stale ref was pinned: %#" PRIx64, ref);
	if (below(2) == 0)
		STRESS_CHECK(tide_put_ref(pool->pool, ref) == -ESTALE, "a stale ref was put");
	else
		STRESS_CHECK(tide_put_ref_used(pool->pool, ref, 0) == -ESTALE,
			     "a stale ref was put");
	expect_reports(0, 0);
}

static void
do_ask(uint32_t p)
{
	const struct pool *pool = &pools[p];
	uint32_t index;

	switch (below(8)) {
	case 0:
		ask(p, stress_next(&random_state));
		break;
	case 1: /* a bit wrong */
		if (lives_n > 0)
			ask(p, lives[below(lives_n)].ref ^ UINT64_C(1) << below(64));
		break;
	case 2: /* quite new */
		if (lives_n > 0)
			ask(p, lives[lives_n - 1 - below(lives_n < 50 ? lives_n : 50)].ref);
		break;
	case 3:
	case 4:
		index = any_of(pool);
		if (index != NONE)
			ask(p, lives[index].ref);
		break;
	default:
		if (lives_n > 0)
			ask(p, lives[below(lives_n)].ref);
	}
}

static void
unpin(uint32_t p, uint32_t index)
{
	struct pool *pool = &pools[p];
	struct life *life = &lives[index];
	unsigned state = life->state;
	bool is_last = life->pins == 1 && state != LIVE;

	if (is_last && below(2) == 0)
		/* Beyond what its owner used, and after it was put. */
		memset(life->obj, SCRIBBLE, pool->bytes);
	else
		check_stamp(index, looked_at(pool));
	life->pins--;
	if (is_last)
		end_life(index, state == BREAKING);
	tide_unpin(pool->pool, life->obj);
	expect_reports(0, 0);
}

static void
do_unpin(uint32_t p)
{
	uint32_t index = any_of(&pools[p]);

	if (index != NONE && lives[index].pins > 0)
		unpin(p, index);
}

/* Of an object that has an owner, or was put and is pinned. */
static void
do_misuse(uint32_t p)
{
	struct pool *pool = &pools[p];
	tide_pool *other = pools[(p + 1) % POOLS].pool;
	uint32_t index = any_of(pool);
	struct life *life;

	if (index == NONE)
		return;
	life = &lives[index];
	switch (below(5)) {
	case 0:
		tide_put(other, life->obj);
		expect_reports(1, TIDE_WRONG_POOL);
		break;
	case 1:
		tide_unpin(other, life->obj);
		expect_reports(1, TIDE_WRONG_POOL);
		break;
	case 2:
		if (life->pins == 0) {
			tide_unpin(pool->pool, life->obj);
			expect_reports(1, TIDE_BAD_UNPIN);
		}
		break;
	case 3:
		if (life->state == LIVE) {
			STRESS_CHECK(tide_put_ref_used(pool->pool, life->ref, pool->bytes + 1) ==
					     -EINVAL,
				     "overflow");
			expect_reports(1, TIDE_OVERFLOW);
		} else {
			tide_discard(pool->pool, life->obj);
			expect_reports(1, TIDE_DOUBLE_PUT);
		}
		break;
	default:
		if (life->state != LIVE) {
			tide_put(pool->pool, life->obj);
			expect_reports(1, TIDE_DOUBLE_PUT);
			STRESS_CHECK(tide_ref_of(pool->pool, life->obj) == 0, "ref of it");
		}
	}
}

/* A pointer that was put, of which nobody has the next life. */
static void
do_stale_pointer(uint32_t p)
{
	struct pool *pool = &pools[p];
	unsigned char *obj;

	if (lives_n == 0)
		return;
	obj = lives[below(2) == 0 ? below(lives_n) : lives_n - 1].obj;
	for (uint32_t i = 0; i < pool->listed; i++)
		if (lives[pool->list[i]].obj == obj && lives[pool->list[i]].state == LIVE)
			return;
	tide_put(pool->pool, obj);
	expect_reports(1, 0);
	STRESS_CHECK(last_kind <= TIDE_WRONG_POOL, "%s", tide_misuse_name(last_kind));
	STRESS_CHECK(tide_ref_of(pool->pool, obj) == 0, "ref of what is not live");
}

struct walk {
	uint32_t p;
	size_t visited;
	size_t stop_at;
	bool puts;
};

static int
visit(void *obj, tide_ref ref, void *arg)
{
	struct walk *walk = arg;
	uint32_t index = life_of(ref);
	struct life *life;

	STRESS_CHECK(index != NONE, "each: no such ref");
	life = &lives[index];
	STRESS_CHECK(life->state == LIVE && life->pool == walk->p && life->obj == obj,
		     "each: of a life that is not");
	STRESS_CHECK(life->visited != walks, "each: twice");
	life->visited = walks;
	if (walk->puts && below(4) == 0) {
		STRESS_CHECK(tide_put_ref(pools[walk->p].pool, ref) == 0, "put in each");
		/* Over as fn returns, unless it is pinned besides. */
		after_put(index, false);
	}
	return ++walk->visited == walk->stop_at;
}

static void
do_each(uint32_t p)
{
	struct walk walk = { .p = p, .puts = below(2) == 0 };
	struct pool *pool = &pools[p];
	size_t expected = 0, visited;

	walks++;
	for (uint32_t i = 0; i < pool->listed; i++)
		expected += lives[pool->list[i]].state == LIVE;
	if (below(3) == 0)
		walk.stop_at = 1 + below(20);
	if (walk.stop_at != 0 && walk.stop_at < expected)
		expected = walk.stop_at;
	visited = tide_pool_each(pool->pool, visit, &walk);
	STRESS_CHECK(visited == expected && walk.visited == expected,
		     "each visited %zu, said %zu, of %zu", walk.visited, visited, expected);
	expect_reports(0, 0);
}

static void
do_destroy(uint32_t p)
{
	struct pool *pool = &pools[p];

	if (pool->listed > 0) {
		STRESS_CHECK(tide_pool_destroy(pool->pool) == -EBUSY, "destroyed while live");
		expect_reports(1, TIDE_LEAK);
	}
	if (below(3) != 0)
		return;
	while (pool->listed > 0) {
		uint32_t index = pool->list[pool->listed - 1];

		if (lives[index].pins > 0) {
			unpin(p, index);
		} else {
			tide_put(pool->pool, lives[index].obj);
			end_life(index, false);
		}
	}
	check_stats(pool);
	count_retired(pool);
	STRESS_CHECK(tide_pool_destroy(pool->pool) == 0, "destroy");
	STRESS_CHECK(pool->inits == pool->finis, "%" PRIu64 " inits, %" PRIu64 " finis",
		     pool->inits, pool->finis);
	expect_reports(0, 0);
	make_pool(pool);
}

static void
step(void)
{
	uint32_t p = below(POOLS);
	uint32_t op = below(10000);

	if (op < 2500)
		do_get(p);
	else if (op < 5000)
		do_put(p);
	else if (op < 8000)
		do_ask(p);
	else if (op < 9100)
		do_unpin(p);
	else if (op < 9400)
		do_misuse(p);
	else if (op < 9600)
		do_stale_pointer(p);
	else if (op < 9700)
		do_get_bulk(p);
	else if (op < 9800)
		do_put_bulk(p);
	else if (op < 9900)
		do_hot_slot(p);
	else if (op < 9950)
		check_stats(&pools[p]);
	else if (op < 9970)
		tide_thread_flush();
	else if (op < 9985)
		do_each(p);
	else
		do_destroy(p);
}

int
main(int argc, char **argv)
{
	unsigned rounds = 0;

	stress_start(argc, argv);
	setenv("TIDENUMA", "fake=4", 1);
	start_oracle();
	/* The oracle has room for so many lives, however long it may go on. */
	while (stress_goes_on(rounds, 20) && lives_n < LIVES_MAX - OPERATIONS) {
		for (unsigned i = 0; i < OPERATIONS / 20; i++)
			step();
		STRESS_CHECK(tide_check() == 0, "tide_check");
		rounds++;
	}
	for (uint32_t i = 0; i < lives_n; i++)
		if (lives[i].state == DEAD)
			ask(i % POOLS, lives[i].ref);
	for (uint32_t p = 0; p < POOLS; p++)
		count_retired(&pools[p]);
#ifdef TIDEP_DEBUG
	STRESS_CHECK(generation_ends > 0, "no slot was used up");
#endif
	printf("%u operations, %u lives, %u pools, %u walks, %u slots used up\n",
	       rounds * (OPERATIONS / 20), lives_n, pools_made, walks, generation_ends);
	return 0;
}
