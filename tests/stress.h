/* SPDX-License-Identifier: MIT */
/*
 * What the stress tests share: a seed that is printed and can be given back, a
 * generator, how much work to do, and a check that says where and dies.
 *
 *     TIDE_SEED            the seed; else the time
 *     TIDE_STRESS_SECONDS  or --seconds N: go on so long; else a fixed amount of
 *                          work, which takes a few seconds
 */
#ifndef STRESS_H
#define STRESS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sanitized.h"

/* With a sanitizer a tenth of the work takes as long. */
#if SANITIZED
#define STRESS_SLOWDOWN 8u
#else
#define STRESS_SLOWDOWN 1u
#endif

#define STRESS_SKIP 77

/* Weak: each is one in a program, of however many files that is made. */
#define STRESS_SHARED __attribute__((weak))
STRESS_SHARED uint64_t stress_seed;
STRESS_SHARED double stress_seconds;
STRESS_SHARED struct timespec stress_began;

/* The process dies, whichever thread it is: nothing after this can be trusted. */
#define STRESS_CHECK(condition, ...)                                                               \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);            \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\nTIDE_SEED=%" PRIu64 "\n", stress_seed);                 \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)

/* Reads the seed and the time to take; prints the seed. */
static inline void
stress_start(int argc, char **argv)
{
	const char *seed = getenv("TIDE_SEED");
	const char *seconds = getenv("TIDE_STRESS_SECONDS");

	clock_gettime(CLOCK_MONOTONIC, &stress_began);
	stress_seed = seed != NULL ? strtoull(seed, NULL, 0)
				   : (uint64_t)stress_began.tv_nsec ^ (uint64_t)getpid() << 32;
	if (argc == 3 && strcmp(argv[1], "--seconds") == 0)
		seconds = argv[2];
	if (seconds != NULL)
		stress_seconds = strtod(seconds, NULL);
	printf("TIDE_SEED=%" PRIu64 "\n", stress_seed);
	fflush(stdout);
}

/* Another round, after `done` of the `fixed` ones of a short run? */
static inline bool
stress_goes_on(unsigned done, unsigned fixed)
{
	struct timespec now;

	if (stress_seconds <= 0)
		return done < fixed;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - stress_began.tv_sec) +
		       (double)(now.tv_nsec - stress_began.tv_nsec) / 1e9 <
	       stress_seconds;
}

/* splitmix64: any state is a good one, and each thread has its own. */
static inline uint64_t
stress_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint32_t
stress_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)((stress_next(state) >> 32) * n >> 32);
}

/* The state of the nth generator of this run. */
static inline uint64_t
stress_stream(uint64_t n)
{
	uint64_t state = stress_seed ^ n * UINT64_C(0xd1342543de82ef95);

	return stress_next(&state);
}

#endif
