/* SPDX-License-Identifier: MIT */
/* refs_each.c - tide_pool_each() visits what is live, once, while others get, put and exit. */
#include "common.h"

#include "step.h"

#define KEPT 3000

/* What the owner writes into an object that is live throughout the walks. */
struct kept {
	uint64_t number; /* 1 to KEPT; 0 = not one of those */
	uint64_t filler[7];
};

struct walk {
	tide_pool *pool;
	unsigned visits[KEPT + 1];
	unsigned visited;
	unsigned stop_after;
	bool puts; /* fn ends each object's life */
};

static int
visit(void *obj, tide_ref ref, void *arg)
{
	struct walk *walk = arg;
	struct kept *kept = obj;
	uint64_t number = __atomic_load_n(&kept->number, __ATOMIC_RELAXED);

	ck_assert_uint_le(number, KEPT);
	walk->visits[number]++;
	walk->visited++;
	if (number != 0) {
		ck_assert(tide_ref_is_live(walk->pool, ref));
		ck_assert_uint_eq(tide_ref_of(walk->pool, obj), ref);
	}
	if (walk->puts) {
		ck_assert_int_eq(tide_put_ref(walk->pool, ref), 0);
		ck_assert(!tide_ref_is_live(walk->pool, ref));
		ck_assert_uint_eq(kept->number, number); /* it is pinned: still there */
	}
	return walk->visited == walk->stop_after;
}

static struct kept *all[KEPT];

static void
get_kept(tide_pool *pool)
{
	for (unsigned i = 0; i < KEPT; i++) {
		all[i] = tide_get(pool);
		ck_assert_ptr_nonnull(all[i]);
		all[i]->number = i + 1;
	}
}

START_TEST(an_empty_pool_has_nothing_to_visit)
{
	struct walk walk = { .pool = NEW_POOL("each", 64) };

	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 0);
	tide_put(walk.pool, tide_get(walk.pool));
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 0);
	ck_assert_uint_eq(walk.visited, 0);
	end_pool(walk.pool);
}
END_TEST

START_TEST(each_live_object_is_visited_once_and_no_other)
{
	static struct walk walk;
	tide_pool *other = NEW_POOL("other", 64);
	void *theirs = tide_get(other);
	tide_ref ref;

	walk.pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	get_kept(walk.pool);
	for (unsigned i = 0; i < KEPT; i += 2) {
		tide_put(walk.pool, all[i]);
		all[i] = NULL;
	}
	tide_discard(walk.pool, all[1]);
	ref = tide_ref_of(walk.pool, all[3]);
	ck_assert_ptr_eq(tide_pin(walk.pool, ref), all[3]);
	tide_put(walk.pool, all[3]); /* not live any more, though it is there */
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), KEPT / 2 - 2);
	for (unsigned i = 0; i < KEPT; i++)
		ck_assert_uint_eq(walk.visits[i + 1], i % 2 == 1 && i > 3);
	tide_unpin(walk.pool, all[3]);
	for (unsigned i = 5; i < KEPT; i += 2)
		tide_put(walk.pool, all[i]);
	tide_put(other, theirs);
	end_pool(walk.pool);
	end_pool(other);
}
END_TEST

START_TEST(objects_of_every_size_are_visited)
{
	static const size_t sizes[] = { 8, 100, 5000, 70000, 3 * MIB };

	for (size_t s = 0; s < LENGTH(sizes); s++) {
		struct walk walk = { .pool = NEW_POOL("each", sizes[s]) };
		struct kept *objs[10];

		for (unsigned i = 0; i < 10; i++) {
			objs[i] = tide_get(walk.pool);
			objs[i]->number = i + 1;
		}
		ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 10);
		for (unsigned i = 1; i <= 10; i++)
			ck_assert_uint_eq(walk.visits[i], 1);
		for (unsigned i = 0; i < 10; i++)
			tide_put(walk.pool, objs[i]);
		end_pool(walk.pool);
	}
}
END_TEST

START_TEST(objects_on_every_node_are_visited)
{
	static struct walk walk;

	setenv("TIDENUMA", "fake=4", 1);
	walk.pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	for (unsigned i = 0; i < 400; i++) {
		all[i] = tide_get_on(walk.pool, i % 4);
		all[i]->number = i + 1;
	}
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 400);
	for (unsigned i = 1; i <= 400; i++)
		ck_assert_uint_eq(walk.visits[i], 1);
	for (unsigned i = 0; i < 400; i++)
		tide_put(walk.pool, all[i]);
	end_pool(walk.pool);
}
END_TEST

START_TEST(fn_may_stop_the_walk)
{
	static struct walk walk;

	walk.pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	get_kept(walk.pool);
	for (unsigned n = 1; n < KEPT; n += 1 + n / 3) {
		walk.visited = 0;
		walk.stop_after = n;
		ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), n);
		ck_assert_uint_eq(walk.visited, n);
	}
	for (unsigned i = 0; i < KEPT; i++)
		tide_put(walk.pool, all[i]); /* nobody has it pinned still */
	end_pool(walk.pool);
}
END_TEST

START_TEST(fn_may_put_by_ref)
{
	static struct walk walk = { .puts = true };

	walk.pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	get_kept(walk.pool);
	walk.stop_after = 100;
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 100);
	ck_assert_uint_eq(stats_of(walk.pool).live_objects, KEPT - 100);
	walk.stop_after = 0;
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), KEPT - 100);
	for (unsigned i = 1; i <= KEPT; i++)
		ck_assert_uint_eq(walk.visits[i], 1);
	ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), 0);
	ck_assert_uint_eq(stats_of(walk.pool).puts, KEPT);
	end_pool(walk.pool);
}
END_TEST

/* An idle sweep: every third is closed; another is opened for it. */
static int
sweep(void *obj, tide_ref ref, void *arg)
{
	tide_pool *pool = arg;
	struct kept *kept = obj, *more;
	void *objs[3];

	ck_assert_ptr_eq(tide_pin(pool, ref), obj);
	tide_unpin(pool, obj);
	ck_assert_int_eq(tide_get_bulk(pool, objs, 3), 0);
	tide_put_bulk(pool, objs, 3);
	if (kept->number % 3 == 0 && kept->number != 0) {
		more = tide_get(pool);
		ck_assert_ptr_nonnull(more);
		ck_assert_ptr_ne(more, obj);
		ck_assert_int_eq(tide_put_ref(pool, ref), 0);
		tide_put(pool, more);
	}
	if (kept->number % 1000 == 1) {
		ck_assert_uint_gt(tide_pool_each(pool, visit, &(struct walk){ .pool = pool }), 0);
		(void)stats_of(pool);
		tide_thread_flush();
	}
	return 0;
}

START_TEST(fn_may_use_the_pool)
{
	tide_pool *pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	static struct walk walk;

	walk.pool = pool;
	get_kept(pool);
	ck_assert_uint_ge(tide_pool_each(pool, sweep, pool), KEPT);
	check_pool(pool);
	ck_assert_uint_eq(tide_pool_each(pool, visit, &walk), KEPT - KEPT / 3);
	for (unsigned i = 1; i <= KEPT; i++) {
		ck_assert_uint_eq(walk.visits[i], i % 3 != 0);
		if (i % 3 != 0)
			tide_put(pool, all[i - 1]);
	}
	end_pool(pool);
}
END_TEST

/* ---- while others work ---------------------------------------------------- */

static _Atomic bool stop;

static void *
get_and_put(void *arg)
{
	while (!stop) {
		void *objs[300];

		for (unsigned i = 0; i < 300; i++)
			objs[i] = tide_get(arg);
		for (unsigned i = 0; i < 300; i++) {
			if (i % 10 == 0)
				tide_discard(arg, objs[i]);
			else
				tide_put(arg, objs[i]);
		}
	}
	return NULL;
}

static void *
get_put_and_exit(void *arg)
{
	void *objs[50];

	for (unsigned i = 0; i < 50; i++)
		objs[i] = tide_get(arg);
	for (unsigned i = 0; i < 50; i++)
		tide_put(arg, objs[i]);
	return NULL;
}

START_TEST(what_lives_throughout_is_visited_once_while_others_get_put_and_exit)
{
	static struct walk walk;
	pthread_t threads[2];
	unsigned others = 0;

	setenv("TIDENUMA", "fake=2", 1);
	walk.pool = NEW_POOL("each", sizeof(struct kept), .flags = 0);
	get_kept(walk.pool);
	for (unsigned i = 0; i < 2; i++)
		threads[i] = start(get_and_put, walk.pool);
	for (unsigned round = 0; round < ROUNDS(60); round++) {
		memset(walk.visits, 0, sizeof(walk.visits));
		walk.visited = 0;
		if (round % 4 == 0)
			run_thread(get_put_and_exit, walk.pool);
		ck_assert_uint_eq(tide_pool_each(walk.pool, visit, &walk), walk.visited);
		for (unsigned i = 1; i <= KEPT; i++)
			ck_assert_msg(walk.visits[i] == 1, "%u visits", walk.visits[i]);
		others += walk.visits[0];
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_gt(others, 0); /* or nobody worked beside the walks */
	for (unsigned i = 0; i < KEPT; i++)
		tide_put(walk.pool, all[i]);
	end_pool(walk.pool);
}
END_TEST

/* The server's idle sweep: owners put by ref, and so does the walk; one of them wins. */
struct owner {
	tide_pool *pool;
	_Atomic unsigned gets, puts;
};

static void *
own_by_ref(void *arg)
{
	struct owner *owner = arg;

	while (!stop) {
		tide_ref refs[20];
		int err;

		for (unsigned i = 0; i < 20; i++) {
			uint64_t *obj = tide_get_ref(owner->pool, &refs[i]);

			ck_assert_ptr_nonnull(obj);
			ck_assert_uint_ne(refs[i], 0);
			owner->gets++;
		}
		for (unsigned i = 0; i < 20; i++) {
			err = tide_put_ref(owner->pool, refs[i]);
			ck_assert(err == 0 || err == -ESTALE);
			owner->puts += err == 0;
		}
	}
	return NULL;
}

static int
sweep_all(void *obj, tide_ref ref, void *arg)
{
	struct owner *owner = arg;
	int err = tide_put_ref(owner->pool, ref);

	(void)obj;
	ck_assert(err == 0 || err == -ESTALE);
	owner->puts += err == 0;
	return 0;
}

START_TEST(a_sweep_and_the_owners_put_each_object_once)
{
	struct owner owner = { .pool = NEW_POOL("sweep", 64) };
	struct seen seen = { 0 };
	pthread_t threads[2];

	tide_set_misuse_handler(see_report, &seen);
	for (unsigned i = 0; i < 2; i++)
		threads[i] = start(own_by_ref, &owner);
	for (unsigned round = 0; round < ROUNDS(2000); round++) {
		tide_pool_each(owner.pool, sweep_all, &owner);
		if (round % 100 == 0)
			sleep_ms(1);
	}
	stop = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(owner.gets, owner.puts);
	ck_assert_uint_eq(seen.n, 0);
	end_pool(owner.pool);
}
END_TEST

/* ---- in the middle of a get ------------------------------------------------ */

#define GETS     20
#define REFS_MAX 100000

static struct owner swept;
static tide_ref refs_seen[REFS_MAX];
static volatile unsigned refs_n;

static void
note_ref(void *obj, tide_ref ref)
{
	if (obj == NULL || refs_n == REFS_MAX)
		return;
	refs_seen[refs_n] = ref;
	refs_n++;
}

static int
end_life(void *obj, tide_ref ref, void *arg)
{
	(void)obj, (void)arg;
	tide_put_ref(swept.pool, ref);
	return 0;
}

/* What is live, the object that is just being got too, is put; and the next get has it. */
static void
sweep_and_get(int number)
{
	int saved = errno;
	tide_ref ref;
	void *obj;

	(void)number;
	tide_pool_each(swept.pool, end_life, NULL);
	obj = tide_get_ref(swept.pool, &ref);
	note_ref(obj, ref);
	errno = saved;
}

static void
ignore_reentered(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	if (report->kind != TIDE_REENTERED)
		abort();
}

static int
compare_refs(const void *a, const void *b)
{
	const tide_ref *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

START_TEST(each_get_has_a_ref_of_its_own_at_whatever_instruction_a_walk_ends_its_life)
{
	void *(*volatile get_ref)(tide_pool *, tide_ref *) = tide_get_ref;
	struct sigaction action = { .sa_handler = sweep_and_get };

	swept.pool = NEW_POOL("sweep", 64);
	tide_set_misuse_handler(ignore_reentered, NULL);
	ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
	for (unsigned i = 0; i < GETS; i++) {
		tide_ref ref = 0;
		void *obj;

		set_trap_flag();
		obj = get_ref(swept.pool, &ref);
		clear_trap_flag();
		note_ref(obj, ref);
		tide_pool_each(swept.pool, end_life, NULL);
	}
	ck_assert_uint_gt(refs_n, CAN_STEP ? 10 * GETS : GETS - 1);
	ck_assert_uint_lt(refs_n, REFS_MAX);
	qsort(refs_seen, refs_n, sizeof(refs_seen[0]), compare_refs);
	ck_assert_msg(refs_seen[0] != 0, "an object without a ref");
	for (unsigned i = 1; i < refs_n; i++)
		if (refs_seen[i] == refs_seen[i - 1])
			ck_abort_msg("ref %#llx was handed out twice",
				     (unsigned long long)refs_seen[i]);
	end_pool(swept.pool);
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		an_empty_pool_has_nothing_to_visit,
		each_live_object_is_visited_once_and_no_other,
		objects_of_every_size_are_visited,
		objects_on_every_node_are_visited,
		fn_may_stop_the_walk,
		fn_may_put_by_ref,
		fn_may_use_the_pool,
		what_lives_throughout_is_visited_once_while_others_get_put_and_exit,
		a_sweep_and_the_owners_put_each_object_once,
		each_get_has_a_ref_of_its_own_at_whatever_instruction_a_walk_ends_its_life,
	};

	return run_tests("refs_each", tests, LENGTH(tests));
}
