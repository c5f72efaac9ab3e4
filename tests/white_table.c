/* SPDX-License-Identifier: MIT */
/*
 * white_table.c - a thread's table of caches grows, in a signal handler that gets from
 * a pool for the first time, while what the handler interrupted may hold the address
 * of the one before. A record that is freed reads 0xdd from then on (--wrap): a look
 * at a table that is gone ends here.
 *
 * The handler comes after each single instruction of a get: skipped where the trap
 * flag cannot be used.
 */
#include "config.h"

#include <errno.h>
#include <pthread.h>

#include "numa/record.h"
#include "pool/tide.h"
#include "rooms.h"
#include "step.h"

#define HEADER_BYTES 64 /* keeps the alignment */
#define POOLS        200
#define BYTES        48
#define STEPS_MAX    1000

void *__real_tidep_numa_record_alloc(size_t bytes);
void __real_tidep_numa_record_free(void *record);
void *__wrap_tidep_numa_record_alloc(size_t bytes);
void __wrap_tidep_numa_record_free(void *record);

void *
__wrap_tidep_numa_record_alloc(size_t bytes)
{
	char *block = __real_tidep_numa_record_alloc(bytes + HEADER_BYTES);

	if (block == NULL)
		return NULL;
	memcpy(block, &bytes, sizeof(bytes));
	return block + HEADER_BYTES;
}

void
__wrap_tidep_numa_record_free(void *record)
{
	char *block = record;
	size_t bytes;

	if (record == NULL)
		return;
	block -= HEADER_BYTES;
	memcpy(&bytes, block, sizeof(bytes));
	memset(record, 0xdd, bytes);
	__real_tidep_numa_record_free(block);
}

static tide_pool *pools[POOLS];
static volatile unsigned step, wanted, refused, worked;

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)arg;
	if (report->kind != TIDE_REENTERED)
		abort();
}

static void
on_trap(int number)
{
	int saved = errno;
	void *obj;

	(void)number;
	if (++step == wanted) {
		obj = tide_get(pools[POOLS - 1]);
		if (obj == NULL)
			refused++;
		else
			worked++;
		tide_put(pools[POOLS - 1], obj);
	}
	errno = saved;
}

/* A new thread has a small table. */
static void *
get_and_be_interrupted(void *arg)
{
	char *obj;

	tide_put(pools[0], tide_get(pools[0]));
	step = 0;
	wanted = *(unsigned *)arg;
	set_trap_flag();
	obj = tide_get(pools[0]);
	clear_trap_flag();
	REQUIRE(obj != NULL && is_zero(obj, BYTES));
	memset(obj, 0x11, BYTES);
	tide_put(pools[0], obj);
	return NULL;
}

static void
create_pools(void)
{
	for (unsigned i = 0; i < POOLS; i++) {
		const struct tide_pool_config config = {
			.config_bytes = sizeof(config),
			.name = "table",
			.object_bytes = BYTES,
			.reset = tide_reset_zero,
		};

		pools[i] = tide_pool_create(&config);
		REQUIRE(pools[i] != NULL);
	}
}

START_TEST(at_every_instruction_of_a_get_a_handlers_first_get_of_a_pool_works_or_is_refused)
{
	struct sigaction action = { .sa_handler = on_trap };
	unsigned at = 0;

	create_pools();
	tide_set_misuse_handler(on_misuse, NULL);
	ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
	do {
		pthread_t thread;

		at++;
		ck_assert_int_eq(pthread_create(&thread, NULL, get_and_be_interrupted, &at), 0);
		ck_assert_int_eq(pthread_join(thread, NULL), 0);
	} while (step >= wanted && at < STEPS_MAX);
	ck_assert_uint_lt(at, STEPS_MAX);
	ck_assert_uint_gt(worked, 5);
	ck_assert_uint_eq(worked + refused, at - 1);
	ck_assert_int_eq(tide_check(), 0);
	for (unsigned i = 0; i < POOLS; i++)
		REQUIRE(tide_pool_destroy(pools[i]) == 0);
}
END_TEST

int
main(void)
{
	if (!CAN_STEP) {
		puts("skipped: no trap flag that could be used");
		return 77;
	}
	return run_suite(
		"white_table",
		(const TTest *const[]){
			at_every_instruction_of_a_get_a_handlers_first_get_of_a_pool_works_or_is_refused,
			NULL,
		});
}
