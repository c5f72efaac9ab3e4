/* SPDX-License-Identifier: MIT */
/*
 * Where the pages of objects, slot words and magazines lie, on a machine with
 * several real nodes: the kernel is asked (move_pages without a target), and
 * which node a thread is on, too; what the library believes is not. Skipped on
 * one node, where there is nothing to tell apart: `make check-numa` boots a guest
 * that has more.
 */
#include "config.h"

#include <hwloc.h>
#include <pthread.h>

#include "kernel_nodes.h"
#include "numa/osmem.h"
#include "numa/topo.h"
#include "pool/thread.h"
#include "rooms.h"

#define OBJS_MAX  512
#define SET_BYTES ((size_t)2 << 20) /* so much of each size, but two objects at least */

static const size_t sizes[] = { 16, 1000, 4096, 9000, (size_t)64 << 10, (size_t)3 << 20 };

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void
check_on(const char *what, const void *addr, size_t bytes, unsigned node)
{
	unsigned off = count_off(addr, bytes, node);

	REQUIRE_MSG(off == 0, "%s, %zu bytes: %u pages are not on node %u", what, bytes, off, node);
}

/* ---- threads and pools ------------------------------------------------------ */

/* The kernel's number of a node of the library's. */
static unsigned
kernel_node_of(unsigned node)
{
	return hwloc_get_obj_by_type(tidep_numa_topo.hwloc, HWLOC_OBJ_NUMANODE, node)->os_index;
}

/* The other way round. */
static unsigned
library_node_of(unsigned kernels)
{
	unsigned node = 0;

	REQUIRE(tide_init() == 0);
	while (node < tidep_numa_topo.nodes && kernel_node_of(node) != kernels)
		node++;
	REQUIRE(node < tidep_numa_topo.nodes);
	return node;
}

struct job {
	void (*fn)(struct job *job);
	unsigned place;
	/* What fn knows: */
	tide_pool *pool;
	size_t size;
	unsigned n;
	unsigned wanted; /* the kernel's node */
	void **objs;
};

static void *
run_pinned(void *arg)
{
	struct job *job = arg;

	REQUIRE(pin_to(place_cpu[job->place]) == 0);
	REQUIRE(kernel_node() == place_node[job->place]);
	job->fn(job);
	return NULL;
}

/* Runs fn on a thread that stays on a node, to its end. */
static void
on_place(unsigned place, void (*fn)(struct job *job), struct job *job)
{
	pthread_t thread;

	job->fn = fn;
	job->place = place;
	REQUIRE(pthread_create(&thread, NULL, run_pinned, job) == 0);
	REQUIRE(pthread_join(thread, NULL) == 0);
}

static tide_pool *
make_pool(size_t size, uint32_t placement, unsigned node)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "placement",
		.object_bytes = size,
		.reset = tide_reset_zero,
		.placement = placement,
		.node = node,
	});

	REQUIRE(pool != NULL);
	return pool;
}

/* A job with a pool and room for objects. */
static struct job
make_job(size_t size, uint32_t placement, unsigned node)
{
	size_t n = SET_BYTES / size;

	struct job job = {
		.pool = make_pool(size, placement, node),
		.size = size,
		.n = n > OBJS_MAX ? OBJS_MAX
		     : n < 2      ? 2
				  : (unsigned)n,
	};

	job.objs = calloc(job.n, sizeof(job.objs[0]));
	REQUIRE(job.objs != NULL);
	return job;
}

static void
end_job(struct job *job)
{
	REQUIRE(tide_check() == 0);
	REQUIRE(tide_pool_destroy(job->pool) == 0);
	free(job->objs);
	/* Nothing was refused that would have cost a page its place. */
	REQUIRE(atomic_load(&tidep_numa_bind_failures) == 0);
}

/* ---- steps of a job ---------------------------------------------------------- */

static void
get_and_write(struct job *job)
{
	for (unsigned i = 0; i < job->n; i++) {
		job->objs[i] = tide_get(job->pool);
		REQUIRE(job->objs[i] != NULL);
		memset(job->objs[i], 0x5a, job->size);
	}
}

static tidep_word *
word_of(const void *obj)
{
	struct tidep_granule *granule = tidep_arena_granule_of(obj);

	return &granule->words[tidep_arena_slot_around(
		granule, (uint64_t)((const char *)obj - tidep_arena_base_of(granule)))];
}

/* All objects and their words are on the wanted node. */
static void
check_objects(const struct job *job)
{
	for (unsigned i = 0; i < job->n; i++) {
		check_on("an object", job->objs[i], job->size, job->wanted);
		check_on("a slot word", word_of(job->objs[i]), sizeof(tidep_word), job->wanted);
	}
}

static void
put_all(struct job *job)
{
	for (unsigned i = 0; i < job->n; i++)
		tide_put(job->pool, job->objs[i]);
}

static void
check_magazine(const struct tidep_magazine *magazine, unsigned node)
{
	if (magazine != NULL)
		check_on("a magazine", magazine,
			 sizeof(*magazine) + magazine->capacity * sizeof(magazine->at[0]), node);
}

/* Those of the cache, and those it has filled and handed in. */
static void
check_magazines(const struct job *job, unsigned depot_number, unsigned node)
{
	struct tidep_depot *depot = &job->pool->depot[depot_number];
	struct tidep_cache *cache = tidep_pool_own_cache(job->pool);
	struct tidep_magazine *popped[OBJS_MAX];
	unsigned n = 0;

	if (!job->pool->caches_objects)
		return;
	REQUIRE(cache->pool == job->pool);
	REQUIRE(cache->loaded != NULL);
	check_magazine(cache->loaded, node);
	check_magazine(cache->previous, node);
	while (n < OBJS_MAX && (popped[n] = tidep_pool_depot_pop_full(depot)) != NULL)
		n++;
	REQUIRE(n < OBJS_MAX);
	while (n-- > 0) {
		check_magazine(popped[n], node);
		tidep_pool_depot_push(depot, popped[n]);
	}
}

/* ---- the tests --------------------------------------------------------------- */

/* Without this, a query that always says what we hope for would pass. */
START_TEST(a_page_elsewhere_is_told)
{
	char *pages =
		mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(pages != MAP_FAILED);
	REQUIRE(node_of(pages) < 0);
	for (unsigned place = 0; place < places; place++) {
		unsigned here = place_node[place];
		unsigned there = place_node[(place + 1) % places];

		for (unsigned i = 0; i < 4; i++)
			REQUIRE(bind_to(pages + i * page, i == 2 ? there : here) == 0);
		REQUIRE(madvise(pages, 4 * page, MADV_DONTNEED) == 0);
		memset(pages, 1, 4 * page);
		REQUIRE(node_of(pages + page) == (int)here);
		REQUIRE(node_of(pages + 2 * page) == (int)there);
		REQUIRE(count_off(pages, 4 * page, here) == 1);
		REQUIRE(count_off(pages, 4 * page, there) == 3);
		REQUIRE(count_off(pages + 3 * page - 1, 1, here) == 1);
		REQUIRE(count_off(pages + 3 * page - 1, 2, here) == 1);
		REQUIRE(count_off(pages + 3 * page, page, here) == 0);
	}
	munmap(pages, 4 * page);
}
END_TEST

static void
get_check_move(struct job *job)
{
	void *obj;

	job->wanted = kernel_node();
	get_and_write(job);
	check_objects(job);
	/* The same objects, after a page of one and the word of another moved away. */
	obj = job->objs[job->n / 2];
	REQUIRE(move_to(obj, (int)place_node[(job->place + 1) % places]));
	REQUIRE(count_off(obj, job->size, job->wanted) == 1);
	obj = word_of(job->objs[job->n - 1]);
	REQUIRE(move_to(obj, (int)place_node[(job->place + 1) % places]));
	REQUIRE(count_off(obj, sizeof(tidep_word), job->wanted) == 1);
	put_all(job);
}

START_TEST(an_object_moved_elsewhere_is_told)
{
	for (unsigned place = 0; place < places; place++) {
		struct job job = make_job(9000, TIDE_LOCAL, 0);

		on_place(place, get_check_move, &job);
		end_job(&job);
	}
}
END_TEST

static void
get_check_put_local(struct job *job)
{
	unsigned home = library_node_of(kernel_node());

	job->wanted = kernel_node();
	get_and_write(job);
	check_objects(job);
	for (unsigned i = 0; i < job->n; i++)
		REQUIRE(tidep_arena_bin_of(tidep_arena_granule_of(job->objs[i])) ==
			&job->pool->depot[home].bin);
	put_all(job);
	check_magazines(job, home, job->wanted);
}

START_TEST(local_objects_words_and_magazines_lie_with_their_thread)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned place = 0; place < places; place++) {
			/* In a pool of their own: idle ones of another node come before new ones. */
			struct job job = make_job(sizes[i], TIDE_LOCAL, 0);

			on_place(place, get_check_put_local, &job);
			end_job(&job);
		}
	}
}
END_TEST

static void
get_and_discard(struct job *job)
{
	get_and_write(job);
	for (unsigned i = 0; i < job->n; i++)
		tide_discard(job->pool, job->objs[i]);
	tide_thread_flush();
}

static void
get_there_and_check(struct job *job)
{
	unsigned there = library_node_of(job->wanted);

	REQUIRE(job->wanted != kernel_node());
	for (unsigned i = 0; i < job->n; i++) {
		job->objs[i] = tide_get_on(job->pool, there);
		REQUIRE(job->objs[i] != NULL);
		memset(job->objs[i], 0x5a, job->size);
	}
	check_objects(job);
	put_all(job);
}

/* The policy is the addresses', whoever touches them: also when they are touched again. */
START_TEST(decommitted_pages_come_back_to_their_node)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned place = 0; place < places; place++) {
			struct job job = make_job(sizes[i], TIDE_LOCAL, 0);
			struct tidep_bin *bin;

			job.wanted = place_node[place];
			bin = &job.pool->depot[library_node_of(job.wanted)].bin;
			on_place(place, get_and_discard, &job);
			tidep_arena_bin_trim(bin);
			REQUIRE(tidep_arena_bin_committed(bin) == 0);
			REQUIRE(node_of(job.objs[0]) < 0);
			on_place((place + 1) % places, get_there_and_check, &job);
			end_job(&job);
		}
	}
}
END_TEST

static void
get_check_put_bound(struct job *job)
{
	get_and_write(job);
	check_objects(job);
	put_all(job);
	check_magazines(job, 0, kernel_node());
}

/* The objects and words on one node; the magazines are their thread's all the same. */
START_TEST(bound_objects_lie_where_they_are_bound)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned bound = 0; bound < places; bound++) {
			for (unsigned place = 0; place < places; place++) {
				unsigned node = library_node_of(place_node[bound]);
				struct job job = make_job(sizes[i], TIDE_BIND, node);

				job.wanted = place_node[bound];
				on_place(place, get_check_put_bound, &job);
				end_job(&job);
			}
		}
	}
}
END_TEST

/* Neighbouring pages are on different nodes, and each node has its share. */
static void
get_check_put_interleaved(struct job *job)
{
	unsigned on[NODES_MAX] = { 0 };
	unsigned pages = (unsigned)(job->size / page);

	get_and_write(job);
	for (unsigned i = 0; i < job->n; i++) {
		int before = -1;

		memset(on, 0, sizeof(on));
		for (unsigned p = 0; p < pages; p++) {
			int node = node_of((char *)job->objs[i] + p * page);

			REQUIRE(node >= 0 && node < NODES_MAX);
			REQUIRE_MSG(node != before, "two neighbours are on node %d", node);
			on[node]++;
			before = node;
		}
		for (unsigned place = 0; place < places; place++)
			REQUIRE_MSG(on[place_node[place]] >= pages / tidep_numa_topo.nodes,
				    "%u of %u pages are on node %u", on[place_node[place]], pages,
				    place_node[place]);
	}
	put_all(job);
	check_magazines(job, 0, kernel_node());
}

START_TEST(interleaved_objects_have_pages_on_every_node)
{
	static const size_t large[] = { (size_t)48 << 10, (size_t)256 << 10, (size_t)3 << 20 };

	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		for (unsigned place = 0; place < places; place++) {
			struct job job = make_job(large[i], TIDE_INTERLEAVE, 0);

			on_place(place, get_check_put_interleaved, &job);
			end_job(&job);
		}
	}
}
END_TEST

static void
reserve_and_check(struct job *job)
{
	struct tidep_bin *bin = &job->pool->depot[library_node_of(kernel_node())].bin;
	struct tidep_slab *slab;

	job->wanted = kernel_node();
	REQUIRE(tide_pool_reserve(job->pool, job->n) == 0);
	/* In memory already, before anybody has touched them. */
	slab = bin->lists[TIDEP_LIST_EMPTY];
	REQUIRE(slab != NULL && slab->next == NULL);
	check_on("a reserved slab", tidep_arena_base_of(slab->granule), job->n * job->size,
		 job->wanted);
	check_on("reserved words", slab->granule->words, job->n * sizeof(tidep_word), job->wanted);
	get_and_write(job);
	check_objects(job);
	put_all(job);
}

START_TEST(reserved_memory_lies_with_who_reserved_it)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned place = 0; place < places; place++) {
			struct job job = make_job(sizes[i], TIDE_LOCAL, 0);
			uint32_t slots = job.pool->depot[0].bin.geometry.slots;

			if (job.n > slots)
				job.n = slots;
			on_place(place, reserve_and_check, &job);
			end_job(&job);
		}
	}
}
END_TEST

static void
get_on_the_move(struct job *job)
{
	void *before = tide_get(job->pool);
	void *after;

	REQUIRE(before != NULL);
	memset(before, 1, job->size);
	check_on("an object", before, job->size, kernel_node());
	REQUIRE(pin_to(place_cpu[(job->place + 1) % places]) == 0);
	REQUIRE(kernel_node() == place_node[(job->place + 1) % places]);
	after = tide_get(job->pool);
	REQUIRE(after != NULL);
	memset(after, 1, job->size);
	check_on("an object", after, job->size, kernel_node());
	tide_put(job->pool, before);
	tide_put(job->pool, after);
}

START_TEST(a_thread_that_moved_gets_new_objects_where_it_is)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned place = 0; place < places; place++) {
			struct job job = make_job(sizes[i], TIDE_LOCAL, 0);

			on_place(place, get_on_the_move, &job);
			end_job(&job);
		}
	}
}
END_TEST

static void
put_and_flush(struct job *job)
{
	REQUIRE(kernel_node() != job->wanted);
	put_all(job);
	tide_thread_flush();
}

static void
get_again_and_check(struct job *job)
{
	struct tide_pool_stats before, after;

	tide_pool_stats_read(job->pool, &before, sizeof(before));
	get_and_write(job);
	tide_pool_stats_read(job->pool, &after, sizeof(after));
	/* They were all here, and they are where they were. */
	REQUIRE(after.created == before.created);
	check_objects(job);
	put_all(job);
}

START_TEST(objects_put_on_another_node_go_home)
{
	for (size_t i = 0; i < SIZES; i++) {
		for (unsigned place = 0; place < places; place++) {
			struct job job = make_job(sizes[i], TIDE_LOCAL, 0);

			job.wanted = place_node[place];
			on_place(place, get_and_write, &job);
			on_place((place + 1) % places, put_and_flush, &job);
			on_place(place, get_again_and_check, &job);
			end_job(&job);
		}
	}
}
END_TEST

int
main(void)
{
	find_places();
	if (places < 2) {
		puts("skipped: there is one node only, or the kernel does not tell");
		return 77;
	}
	if (syscall(SYS_move_pages, 0, 0L, NULL, NULL, NULL, 0) != 0) {
		puts("skipped: move_pages is not permitted here");
		return 77;
	}
	return run_suite("white_placement",
			 (const TTest *const[]){
				 a_page_elsewhere_is_told,
				 an_object_moved_elsewhere_is_told,
				 local_objects_words_and_magazines_lie_with_their_thread,
				 decommitted_pages_come_back_to_their_node,
				 bound_objects_lie_where_they_are_bound,
				 interleaved_objects_have_pages_on_every_node,
				 reserved_memory_lies_with_who_reserved_it,
				 a_thread_that_moved_gets_new_objects_where_it_is,
				 objects_put_on_another_node_go_home,
				 NULL,
			 });
}
