/* SPDX-License-Identifier: MIT */
/*
 * limits_locked - in a process that locks its memory (mlockall), now and in future,
 * the kernel takes no page back. That is counted, memory that was let go reads zero
 * all the same, and everything works; with RLIMIT_MEMLOCK too, under which even
 * addresses that hold no memory are dear: exhaustion is ENOMEM then, and passes.
 *
 * As root the limit does not hold, so those parts give the capability up.
 */
#include "config.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <tide.h>

#include "stress.h"

#define MIB         ((size_t)1 << 20)
#define LOCKED_MAX  (384 * MIB)
#define BLOCK_BYTES (2 * MIB) /* discarded, their pages go back at once */
#define BLOCKS      8
#define BLOCKS_MAX  1024

static tide_pool *
new_pool(const char *name, size_t bytes)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = name,
		.object_bytes = bytes,
		.reset = tide_reset_zero,
	});

	STRESS_CHECK(pool != NULL, "create: %s", strerror(errno));
	return pool;
}

static void
check_zero(const void *obj, size_t bytes)
{
	const unsigned char *at = obj;

	STRESS_CHECK(at[0] == 0 && memcmp(at, at + 1, bytes - 1) == 0, "an object is not zero");
}

static uint64_t
count_failures(void)
{
	struct tide_stats stats;

	tide_stats_read(&stats, sizeof(stats));
	return stats.decommit_failures;
}

/* Large objects come, are written, and go for good; then small ones. */
static void
use_pools(bool is_locked)
{
	tide_pool *blocks = new_pool("blocks", BLOCK_BYTES);
	tide_pool *small = new_pool("small", 200);
	uint64_t failures = count_failures();
	void *objs[4000];

	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < BLOCKS; i++) {
			objs[i] = tide_get(blocks);
			STRESS_CHECK(objs[i] != NULL, "get: %s", strerror(errno));
			check_zero(objs[i], BLOCK_BYTES);
			memset(objs[i], 0x5a, BLOCK_BYTES);
		}
		for (unsigned i = 0; i < BLOCKS; i++)
			tide_discard(blocks, objs[i]);
		STRESS_CHECK(tide_check() == 0, "tide_check");
	}
	STRESS_CHECK(is_locked == (count_failures() > failures), "%" PRIu64 " failures",
		     count_failures() - failures);
	for (unsigned round = 0; round < 3; round++) {
		STRESS_CHECK(tide_get_bulk(small, objs, 4000) == 0, "get_bulk");
		for (unsigned i = 0; i < 4000; i++) {
			check_zero(objs[i], 200);
			memset(objs[i], 0x5a, 200);
		}
		tide_put_bulk(small, objs, 4000);
	}
	STRESS_CHECK(tide_check() == 0, "tide_check");
	STRESS_CHECK(tide_pool_destroy(small) == 0 && tide_pool_destroy(blocks) == 0, "destroy");
	/* Slabs that went, slot words too: the next pool gets their places. */
	small = new_pool("again", 200);
	STRESS_CHECK(tide_get_bulk(small, objs, 4000) == 0, "get_bulk");
	for (unsigned i = 0; i < 4000; i++)
		check_zero(objs[i], 200);
	tide_put_bulk(small, objs, 4000);
	STRESS_CHECK(tide_pool_reserve(small, 8000) == 0, "reserve");
	STRESS_CHECK(tide_check() == 0 && tide_pool_destroy(small) == 0, "destroy");
}

/* Until the limit on locked memory says no. */
static void
exhaust(void)
{
	static void *objs[BLOCKS_MAX];
	tide_pool *blocks = new_pool("all", BLOCK_BYTES);
	size_t n = 0;

	errno = 0;
	while (n < BLOCKS_MAX && (objs[n] = tide_get(blocks)) != NULL)
		n++;
	STRESS_CHECK(n > 0 && n < BLOCKS_MAX && errno == ENOMEM, "%zu, %s", n, strerror(errno));
	STRESS_CHECK(tide_check() == 0, "tide_check");
	tide_put_bulk(blocks, objs, n);
	STRESS_CHECK(tide_get_bulk(blocks, objs, n / 2) == 0, "get_bulk");
	tide_put_bulk(blocks, objs, n / 2);
	STRESS_CHECK(tide_check() == 0 && tide_pool_destroy(blocks) == 0, "destroy");
}

/* Without the capability, as everybody but root is. */
static bool
give_up_locking(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) != 0)
		return false;
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	return syscall(SYS_capset, &header, data) == 0;
}

static int
skip(const char *what)
{
	printf("skipped: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	return STRESS_SKIP;
}

/* Pools are there, and used, when the memory is locked. */
static int
lock_what_is_there(void)
{
	use_pools(false);
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		return skip("mlockall");
	use_pools(true);
	return 0;
}

static int
lock_up_to_a_limit(void)
{
	struct rlimit limit = { LOCKED_MAX, LOCKED_MAX };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return skip("RLIMIT_MEMLOCK");
	if (!give_up_locking())
		return skip("capset");
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		return skip("mlockall");
	use_pools(true);
	exhaust();
	return 0;
}

/* No space fits: an error, and another try when there is no limit any more. */
static int
lock_too_little(void)
{
	struct rlimit limit = { 8 * MIB, 8 * MIB };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0)
		return skip("RLIMIT_MEMLOCK");
	if (!give_up_locking())
		return skip("capset");
	if (mlockall(MCL_FUTURE) != 0)
		return skip("mlockall");
	STRESS_CHECK(tide_init() == -ENOMEM, "tide_init");
	STRESS_CHECK(munlockall() == 0 && tide_init() == 0, "tide_init");
	use_pools(false);
	return 0;
}

static int (*const parts[])(void) = { lock_what_is_there, lock_up_to_a_limit, lock_too_little };

int
main(int argc, char **argv)
{
	int result = STRESS_SKIP;

	stress_start(argc, argv);
#if SANITIZED
	printf("skipped: the sanitizers make nothing of mlockall\n");
	return STRESS_SKIP;
#endif
	for (unsigned part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
		pid_t child = fork();
		int status;

		STRESS_CHECK(child >= 0, "fork");
		if (child == 0) {
			alarm(120);
			exit(parts[part]());
		}
		STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
		if (WIFEXITED(status) && WEXITSTATUS(status) == STRESS_SKIP)
			continue;
		STRESS_CHECK(status == 0, "part %u: status %#x", part, (unsigned)status);
		result = 0;
	}
	return result;
}
