/* SPDX-License-Identifier: MIT */
/*
 * bench: tidepool beside what a program could use instead. bench/run.sh runs one
 * process for each contender, cell and round, contenders interleaved within a
 * round and in another order each round, and writes their figures to a CSV;
 * bench/report.sh makes the table and the acceptance lines out of that.
 *
 * Axes
 *
 *     object      64 bytes
 *     contender   by what a get and a put of theirs are; "clear" is a memset of the
 *                 64 bytes, a constant, so that it is inlined
 *         tidepool         tide_get; tide_put into a pool of tide_reset_zero
 *         bare             pop; clear and push: a thread-local stack of 2048 objects,
 *                          pre-allocated; no checks. Behind calls into a shared library,
 *                          as tidepool is: what the acceptance lines speak of
 *         bare-inline      the same inlined into the loops
 *         bare-rmw         as bare, and a get marks the object's word, a put takes it
 *                          back by one compare-and-swap: what exact puts cost at least
 *         glibc            malloc; clear and free
 *         mimalloc         mi_malloc; clear and mi_free
 *         glibc-calloc     calloc; free: what a get returns is zero, as with tidepool;
 *         mimalloc-calloc  mi_calloc; mi_free: and as it is not with the former two
 *         rmw              no pool: one uncontended compare-and-swap; cell "rmw" only
 *     cell        what a thread does, over and over; "touch" writes 8 bytes
 *         pair         get, touch, put
 *         rove         1000 live: get, touch, put the oldest of them
 *         hold-1000    1000 live: get, touch, put a random one of them
 *         burst        get and touch 128, put them in the same order
 *         hand-over    one thread gets, touches and pushes into a ring of 1024, another
 *                      pops and puts (not the bare ones: they have no way back)
 *     threads     1; burst also 4; hand-over 2 and 4 (two rings); of several threads,
 *                 each is bound to a cpu, dealt in turn: a hand-over is always from one
 *                 cpu to another, and with 4 on 2 cpus the getters share one of them
 *     rounds      BENCH_ROUNDS, 5 if not said
 *     blocks      in a process: one not timed, then 31 of 2^18 objects; of several
 *                 threads, 7 of 2^19 (hand-over) or 2^21 (burst) a thread
 *
 * Figures: nanoseconds for an object got and put, by a thread
 *
 *     wall        from when the first thread of a block starts to when the last is
 *                 through, by the objects each got: what a fixed amount of work takes,
 *                 waiting included
 *     cpu         cpu time of all threads by all objects: without the time that
 *                 others had the cpu, and without time asleep
 *
 * of each both the least and the median of the blocks. What disturbs one thread only
 * adds, so the least is the truth; with several, who meets whom is part of it, so
 * there the median is.
 */
#include "config.h"

#include "bench/harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCKS_MAX 32

struct worker {
	struct bench_thread thread;
	const struct bench_cell *cell;
	pthread_t id;
	/* Of the last block, read by the first worker between two barriers. */
	uint64_t start_ns, end_ns, cpu_ns;
};

static struct worker *workers;
static pthread_barrier_t barrier;
static double wall[BLOCKS_MAX], cpu[BLOCKS_MAX];

_Noreturn void
bench_die(const char *what)
{
	fprintf(stderr, "bench %s: %s failed\n", bench_contender, what);
	exit(1);
}

static uint64_t
now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void
run_block(struct worker *worker)
{
	const struct bench_cell *cell = worker->cell;
	uint64_t cpu_ns;

	if (cell->fill)
		cell->fill(&worker->thread);
	pthread_barrier_wait(&barrier);
	cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID);
	worker->start_ns = now_ns(CLOCK_MONOTONIC);
	cell->run(&worker->thread, cell->n);
	worker->end_ns = now_ns(CLOCK_MONOTONIC);
	worker->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_ns;
	pthread_barrier_wait(&barrier);
	if (cell->drain)
		cell->drain(&worker->thread);
}

/* Between the second barrier of a block and the first one of the next. */
static void
sum_up(const struct bench_cell *cell, unsigned block)
{
	uint64_t start = UINT64_MAX, end = 0, cpu_ns = 0;
	double objects = (double)cell->n * cell->threads / cell->threads_an_object;

	for (unsigned i = 0; i < cell->threads; i++) {
		start = workers[i].start_ns < start ? workers[i].start_ns : start;
		end = workers[i].end_ns > end ? workers[i].end_ns : end;
		cpu_ns += workers[i].cpu_ns;
	}
	wall[block] = (double)(end - start) / (double)cell->n;
	cpu[block] = (double)cpu_ns / objects;
}

/*
 * Threads of a cell are dealt to the cpus in turn, or how often an object crosses
 * from one cpu to another in a hand-over, and with it the figure, is as the
 * scheduler pleases (measured here: from 32 to 170 ns for one contender).
 */
static void
deal_cpu(const struct worker *worker)
{
	cpu_set_t allowed, mine;
	unsigned nth;
	size_t at = 0;

	if (worker->cell->threads == 1 || sched_getaffinity(0, sizeof(allowed), &allowed) != 0)
		return;
	nth = worker->thread.number % (unsigned)CPU_COUNT(&allowed);
	while (!CPU_ISSET(at, &allowed) || nth-- > 0)
		at++;
	CPU_ZERO(&mine);
	CPU_SET(at, &mine);
	if (sched_setaffinity(0, sizeof(mine), &mine) != 0)
		bench_die("sched_setaffinity");
}

static void *
work(void *arg)
{
	struct worker *worker = arg;

	deal_cpu(worker);
	bench_thread_start();
	run_block(worker); /* finds its memory; not timed */
	for (unsigned block = 0; block < worker->cell->blocks; block++) {
		run_block(worker);
		if (worker->thread.number == 0)
			sum_up(worker->cell, block);
	}
	return NULL;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A line: contender,cell,threads,wall least,wall median,cpu least,cpu median. */
static void
print_line(const struct bench_cell *cell)
{
	unsigned blocks = cell->blocks;

	qsort(wall, blocks, sizeof(*wall), compare_doubles);
	qsort(cpu, blocks, sizeof(*cpu), compare_doubles);
	printf("%s,%s,%u,%.3f,%.3f,%.3f,%.3f\n", bench_contender, cell->name, cell->threads,
	       wall[0], wall[blocks / 2], cpu[0], cpu[blocks / 2]);
	fflush(stdout);
}

static void
run_cell(const struct bench_cell *cell)
{
	struct bench_ring *rings = aligned_alloc(128, BENCH_THREADS_MAX * sizeof(*rings));

	workers = calloc(cell->threads, sizeof(*workers));
	if (rings == NULL || workers == NULL ||
	    pthread_barrier_init(&barrier, NULL, cell->threads) != 0)
		bench_die("setting up");
	memset(rings, 0, BENCH_THREADS_MAX * sizeof(*rings));
	for (unsigned i = 0; i < cell->threads; i++) {
		workers[i].cell = cell;
		workers[i].thread.number = i;
		workers[i].thread.random = 0x9e3779b97f4a7c15u * (i + 1);
		workers[i].thread.ring = &rings[i / 2];
		if (pthread_create(&workers[i].id, NULL, work, &workers[i]) != 0)
			bench_die("pthread_create");
	}
	for (unsigned i = 0; i < cell->threads; i++)
		pthread_join(workers[i].id, NULL);
	pthread_barrier_destroy(&barrier);
	free(workers);
	free(rings);
	print_line(cell);
}

/* Without arguments names the cells, as "cell/threads"; else runs those named. */
int
main(int argc, char **argv)
{
	char name[64];

	if (argc > 1)
		bench_start();
	for (const struct bench_cell *cell = bench_cells; cell->name != NULL; cell++) {
		snprintf(name, sizeof(name), "%s/%u", cell->name, cell->threads);
		if (argc == 1)
			puts(name);
		for (int i = 1; i < argc; i++)
			if (strcmp(argv[i], name) == 0)
				run_cell(cell);
	}
	return 0;
}
