/* SPDX-License-Identifier: MIT */
/*
 * The bytes of an input as a sequence of operations on three pools, beside an
 * oracle of what is live, pinned and written. Whatever the input, every answer must
 * be the oracle's, and what is misuse must be reported once and change nothing.
 *
 * With libFuzzer (`make fuzz`, which needs clang) it finds its own inputs. Else the
 * program replays the files and folders it is given, tests/corpus without any, and
 * a bounded number of mutations of each.
 */
#include "config.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tide.h>

#define POOLS     3
#define OBJECTS   48
#define OLD       256
#define INPUT_MAX 4096
#define USED_MAX  ((size_t)256)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum state { NONE, LIVE, LEAVING, BREAKING };

struct object {
	unsigned char *obj;
	tide_ref ref;
	enum state state;
	unsigned pool, pins;
	unsigned char stamp;
	bool visited;
};

struct input {
	const uint8_t *at, *end;
};

static tide_pool *pools[POOLS];
static size_t sizes[POOLS], caps[POOLS];
static int64_t made[POOLS]; /* inits less finis */
static struct object objects[OBJECTS];
static tide_ref old[OLD]; /* of all inputs */
static unsigned olds;
static unsigned reports;
static uint32_t last_kind;

#define REQUIRE(condition)                                                                         \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	reports++;
	last_kind = report->kind;
}

static void
expect(uint32_t kind)
{
	REQUIRE(reports == (kind != 0) && (kind == 0 || last_kind == kind));
	reports = 0;
}

static unsigned
take(struct input *input)
{
	return input->at < input->end ? *input->at++ : 0;
}

/* ---- pools ---------------------------------------------------------------- */

static int
init_hook(void *obj, void *ctx)
{
	int64_t *count = ctx;

	REQUIRE(*(unsigned char *)obj == 0);
	++*count;
	return 0;
}

static int
reset_hook(void *obj, size_t used, void *ctx)
{
	static unsigned calls;

	(void)ctx;
	memset(obj, 0, used);
	return ++calls % 16 == 0;
}

static void
fini_hook(void *obj, void *ctx)
{
	int64_t *count = ctx;

	(void)obj;
	--*count;
}

static void
make_pool(unsigned p, unsigned shape)
{
	static const size_t kinds[] = { 1, 16, 40, 64, 128, 700, 4096, 66000 };
	struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "fuzz",
		.object_bytes = kinds[shape % 8],
		.reset = tide_reset_zero,
		.placement = shape & 8 ? TIDE_INTERLEAVE : TIDE_LOCAL,
	};

	caps[p] = shape & 16 ? 7 : 0;
	sizes[p] = config.object_bytes;
	config.max_bytes = caps[p] * config.object_bytes;
	if (shape & 32) {
		config.init = init_hook;
		config.reset = reset_hook;
		config.fini = fini_hook;
		config.ctx = &made[p];
	}
	made[p] = 0;
	pools[p] = tide_pool_create(&config);
	REQUIRE(pools[p] != NULL);
}

static size_t
count_of(unsigned p)
{
	size_t count = 0;

	for (unsigned i = 0; i < OBJECTS; i++)
		count += objects[i].state != NONE && objects[i].pool == p;
	return count;
}

/* ---- objects -------------------------------------------------------------- */

/* Of large objects only the first bytes are written to. */
static size_t
used_of(const struct object *object)
{
	return sizes[object->pool] < USED_MAX ? sizes[object->pool] : USED_MAX;
}

static void
check_bytes(const struct object *object, size_t bytes, unsigned char value)
{
	REQUIRE(object->obj[0] == value);
	REQUIRE(memcmp(object->obj, object->obj + 1, bytes - 1) == 0);
}

static void
begin(struct object *object, unsigned p, void *obj, unsigned char stamp)
{
	object->obj = obj;
	object->pool = p;
	object->pins = 0;
	object->state = LIVE;
	object->ref = tide_ref_of(pools[p], obj);
	object->stamp = (unsigned char)(stamp | 1);
	REQUIRE(object->ref != 0);
	for (unsigned i = 0; i < OLD; i++)
		REQUIRE(old[i] != object->ref);
	for (unsigned i = 0; i < OBJECTS; i++)
		REQUIRE(&objects[i] == object || objects[i].state == NONE || objects[i].obj != obj);
	check_bytes(object, sizes[p], 0);
	memset(obj, object->stamp, used_of(object));
}

static void
end(struct object *object)
{
	old[olds++ % OLD] = object->ref;
	object->state = NONE;
}

static void
put(struct object *object, unsigned how)
{
	tide_pool *pool = pools[object->pool];
	enum state leaving = LEAVING;

	check_bytes(object, used_of(object), object->stamp);
	switch (how % 4) {
	case 0:
		tide_put(pool, object->obj);
		break;
	case 1:
		REQUIRE(tide_put_ref(pool, object->ref) == 0);
		break;
	case 2:
		tide_put_used(pool, object->obj, used_of(object));
		break;
	default:
		tide_discard(pool, object->obj);
		leaving = BREAKING;
	}
	expect(0);
	REQUIRE(!tide_ref_is_live(pool, object->ref));
	if (object->pins > 0)
		object->state = leaving;
	else
		end(object);
}

static void
unpin(struct object *object)
{
	check_bytes(object, used_of(object), object->stamp);
	object->pins--;
	tide_unpin(pools[object->pool], object->obj);
	expect(0);
	if (object->pins == 0 && object->state != LIVE)
		end(object);
}

/* ---- operations ----------------------------------------------------------- */

static void
do_get(struct object *object, unsigned p, unsigned how)
{
	bool fails = caps[p] != 0 && count_of(p) >= caps[p];
	tide_ref ref = 0;
	void *obj;

	if (object->state != NONE)
		return;
	if (how % 2 == 0)
		obj = tide_get(pools[p]);
	else
		obj = tide_get_ref(pools[p], &ref);
	REQUIRE((obj == NULL) == fails);
	expect(0);
	if (obj == NULL)
		return;
	begin(object, p, obj, (unsigned char)how);
	REQUIRE(how % 2 == 0 || ref == object->ref);
}

static void
do_bulk(unsigned p, unsigned n)
{
	bool fails;
	void *objs[16];

	n %= 16;
	fails = caps[p] != 0 && count_of(p) + n > caps[p];
	REQUIRE((tide_get_bulk(pools[p], objs, n) != 0) == fails);
	if (fails)
		return;
	for (unsigned i = 0; i < n; i++) {
		REQUIRE(((unsigned char *)objs[i])[0] == 0);
		memset(objs[i], 0xbb, sizes[p] < USED_MAX ? sizes[p] : USED_MAX);
	}
	tide_put_bulk(pools[p], objs, n);
	expect(0);
}

static void
do_pin(struct object *object)
{
	if (object->state == NONE)
		return;
	if (object->state == LIVE) {
		REQUIRE(tide_pin(pools[object->pool], object->ref) == object->obj);
		object->pins++;
	} else {
		REQUIRE(tide_pin(pools[object->pool], object->ref) == NULL && errno == ESTALE);
		REQUIRE(tide_put_ref(pools[object->pool], object->ref) == -ESTALE);
	}
	expect(0);
}

static void
do_misuse(struct object *object, unsigned how)
{
	tide_pool *pool = pools[object->pool];

	if (object->state == NONE)
		return;
	switch (how % 5) {
	case 0:
		tide_put(pools[(object->pool + 1) % POOLS], object->obj);
		expect(TIDE_WRONG_POOL);
		break;
	case 1:
		tide_put(pool, object->obj + 1 + how % 8);
		/* Of small objects that may be another one, or none yet. */
		REQUIRE(reports == 1 && last_kind == TIDE_FOREIGN_PUT);
		reports = 0;
		break;
	case 2:
		if (object->state == LIVE) {
			tide_put_used(pool, object->obj, sizes[object->pool] + 1 + how);
			expect(TIDE_OVERFLOW);
		} else {
			tide_put(pool, object->obj);
			expect(TIDE_DOUBLE_PUT);
		}
		break;
	case 3:
		if (object->pins == 0) {
			tide_unpin(pool, object->obj);
			expect(TIDE_BAD_UNPIN);
		}
		break;
	default:
		REQUIRE(tide_pool_destroy(pool) == -EBUSY);
		expect(TIDE_LEAK);
	}
	check_bytes(object, used_of(object), object->stamp);
}

static void
do_ask_old(unsigned p, unsigned which, unsigned bit)
{
	tide_ref ref = old[which % OLD];
	bool is_live = false;

	if (bit < 64)
		ref ^= UINT64_C(1) << bit;
	for (unsigned i = 0; i < OBJECTS; i++)
		is_live |=
			objects[i].state == LIVE && objects[i].pool == p && objects[i].ref == ref;
	REQUIRE(tide_ref_is_live(pools[p], ref) == is_live);
	if (!is_live) {
		REQUIRE(tide_pin(pools[p], ref) == NULL && errno == ESTALE);
		REQUIRE(tide_put_ref(pools[p], ref) == -ESTALE);
	}
	expect(0);
}

static int
visit(void *obj, tide_ref ref, void *arg)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		struct object *object = &objects[i];

		if (object->state != LIVE || object->ref != ref)
			continue;
		REQUIRE(object->obj == obj && object->pool == *(unsigned *)arg && !object->visited);
		object->visited = true;
		return 0;
	}
	fputs("a walk met what is not live\n", stderr);
	abort();
}

static void
do_each(unsigned p)
{
	size_t live = 0;

	for (unsigned i = 0; i < OBJECTS; i++) {
		objects[i].visited = false;
		live += objects[i].state == LIVE && objects[i].pool == p;
	}
	REQUIRE(tide_pool_each(pools[p], visit, &p) == live);
}

static void
do_stats(unsigned p)
{
	struct tide_pool_stats stats;

	tide_pool_stats_read(pools[p], &stats, sizeof(stats));
	REQUIRE(stats.live_objects == count_of(p));
	REQUIRE(stats.created == stats.released + stats.live_objects + stats.idle_objects);
}

static void
empty_pool(unsigned p)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objects[i].state == NONE || objects[i].pool != p)
			continue;
		if (objects[i].state == LIVE)
			put(&objects[i], i);
		while (objects[i].state != NONE)
			unpin(&objects[i]);
	}
	do_stats(p);
	REQUIRE(tide_pool_destroy(pools[p]) == 0);
	REQUIRE(made[p] == 0);
	expect(0);
}

static void
step(struct input *input)
{
	unsigned op = take(input);
	unsigned arg = take(input);
	struct object *object = &objects[arg % OBJECTS];
	unsigned p = arg % POOLS;

	switch (op % 16) {
	case 0:
	case 1:
	case 2:
		do_get(object, (op >> 4) % POOLS, take(input));
		break;
	case 3:
	case 4:
	case 5:
		if (object->state == LIVE)
			put(object, op >> 4);
		break;
	case 6:
	case 7:
		do_pin(object);
		break;
	case 8:
	case 9:
		if (object->state != NONE && object->pins > 0)
			unpin(object);
		break;
	case 10:
		do_misuse(object, op >> 4);
		break;
	case 11:
		do_ask_old(p, take(input), op >> 4 | 0x30);
		break;
	case 12:
		do_bulk(p, op >> 4);
		break;
	case 13:
		do_each(p);
		break;
	case 14:
		do_stats(p);
		tide_thread_flush();
		break;
	default:
		/* Mostly pools that stay. */
		if (op >> 4 == 15) {
			empty_pool(p);
			make_pool(p, take(input));
		} else {
			do_ask_old(p, arg, 64);
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, data + (bytes < INPUT_MAX ? bytes : INPUT_MAX) };

	setenv("TIDENUMA", "fake=2", 1);
	tide_set_misuse_handler(on_misuse, NULL);
	for (unsigned p = 0; p < POOLS; p++)
		make_pool(p, take(&input));
	while (input.at < input.end)
		step(&input);
	REQUIRE(tide_check() == 0);
	for (unsigned p = 0; p < POOLS; p++)
		empty_pool(p);
	return 0;
}

#ifndef FUZZ_WITH_LIBFUZZER

#include <dirent.h>

#include "stress.h"

#if THREAD_SANITIZED
#define MUTATIONS 3u
#else
#define MUTATIONS (120u / STRESS_SLOWDOWN)
#endif

static unsigned replayed;

/* What a fuzzer does, without looking where it leads: bytes changed, copied, lost. */
static size_t
mutate(uint8_t *data, size_t bytes, uint64_t *random)
{
	unsigned changes = 1 + stress_below(random, 8);

	while (changes-- > 0 && bytes > 0) {
		size_t at = stress_below(random, (uint32_t)bytes);
		size_t n = 1 + stress_below(random, (uint32_t)(bytes - at));

		switch (stress_below(random, 4)) {
		case 0:
			data[at] ^= (uint8_t)(1u << stress_below(random, 8));
			break;
		case 1:
			data[at] = (uint8_t)stress_next(random);
			break;
		case 2: /* doubled */
			if (bytes + n > INPUT_MAX)
				break;
			memmove(data + at + n, data + at, bytes - at);
			bytes += n;
			break;
		default:
			if (n > 16)
				break;
			memmove(data + at, data + at + n, bytes - at - n);
			bytes -= n;
		}
	}
	return bytes;
}

static void
replay(const char *path)
{
	static uint8_t data[INPUT_MAX], mutant[INPUT_MAX];
	uint64_t random = stress_stream(replayed);
	FILE *file = fopen(path, "rb");
	size_t bytes, mutant_bytes;

	STRESS_CHECK(file != NULL, "%s: %s", path, strerror(errno));
	bytes = fread(data, 1, sizeof(data), file);
	fclose(file);
	LLVMFuzzerTestOneInput(data, bytes);
	replayed++;
	mutant_bytes = bytes;
	memcpy(mutant, data, bytes);
	for (unsigned i = 0; i < MUTATIONS; i++) {
		/* From the file again, now and then. */
		if (i % 16 == 0) {
			mutant_bytes = bytes;
			memcpy(mutant, data, bytes);
		}
		mutant_bytes = mutate(mutant, mutant_bytes, &random);
		LLVMFuzzerTestOneInput(mutant, mutant_bytes);
	}
}

static void
replay_folder(const char *path)
{
	struct dirent **entries;
	char name[4096];
	int n = scandir(path, &entries, NULL, alphasort);

	if (n < 0) {
		replay(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			replay(name);
		}
		free(entries[i]);
	}
	free(entries);
}

int
main(int argc, char **argv)
{
	const char *srcdir = getenv("srcdir");
	char path[4096];

	/* The same mutations every time, unless a seed is given. */
	setenv("TIDE_SEED", "1", 0);
	stress_start(1, argv);
	for (int i = 1; i < argc; i++)
		replay_folder(argv[i]);
	if (argc == 1) {
		snprintf(path, sizeof(path), "%s/tests/corpus", srcdir != NULL ? srcdir : ".");
		replay_folder(path);
	}
	STRESS_CHECK(replayed > 0, "no inputs");
	printf("%u inputs, %u mutations of each\n", replayed, MUTATIONS);
	return 0;
}

#endif
