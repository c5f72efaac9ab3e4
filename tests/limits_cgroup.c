/* SPDX-License-Identifier: MIT */
/*
 * limits_cgroup - in a cgroup with a limit on memory. A pool that grows to the limit
 * is no error to it: the kernel kills the process. With max_bytes below the limit it
 * gets ENOMEM instead, and lives.
 *
 * The cgroup, v2 or v1, is made in the directory that TIDE_TEST_CGROUP names, or else
 * in the test's own cgroup if that was delegated to this user; and is removed again.
 * Root could make one anywhere, in trees that somebody else manages, so it does not
 * unless it is told where. Otherwise, or without a limit on memory, the test is skipped.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <tide.h>

#include "stress.h"

#define MIB          ((size_t)1 << 20)
#define LIMIT_BYTES  (96 * MIB)
#define OBJECT_BYTES ((size_t)65536)
#define OBJS_MAX     (4 * LIMIT_BYTES / OBJECT_BYTES)

static char group[4200]; /* its directory */

/* ---- cgroups -------------------------------------------------------------- */

static bool
write_file(const char *name, const char *text)
{
	char path[4400];
	bool done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", group, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

/* The directory of our own cgroup: the one with the memory controller, or v2's. */
static bool
find_own(char *own, size_t own_bytes)
{
	static const char *const mounts[] = { "/sys/fs/cgroup/memory", "/sys/fs/cgroup",
					      "/sys/fs/cgroup/unified" };
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[4096];
	bool found = false;

	while (file != NULL && !found && fgets(line, sizeof(line), file) != NULL) {
		bool is_v1 = strstr(line, ":memory:") != NULL;
		char *path = strrchr(line, ':') + 1;

		if (!is_v1 && strncmp(line, "0::", 3) != 0)
			continue;
		path[strcspn(path, "\n")] = '\0';
		for (unsigned i = is_v1 ? 0 : 1; i < (is_v1 ? 1 : 3) && !found; i++) {
			struct stat stat_of_it;

			snprintf(own, own_bytes, "%s%s/cgroup.procs", mounts[i], path);
			found = stat(own, &stat_of_it) == 0;
			snprintf(own, own_bytes, "%s%s", mounts[i], path);
		}
	}
	if (file != NULL)
		fclose(file);
	return found;
}

static bool
set_limit(void)
{
	char text[32];

	snprintf(text, sizeof(text), "%zu", LIMIT_BYTES);
	/* Without swap, or it would all go there. */
	write_file("memory.swap.max", "0");
	write_file("memory.swappiness", "0");
	return write_file("memory.max", text) || write_file("memory.limit_in_bytes", text);
}

/* Where one may be made: as told, or where we are if it is this user's. */
static bool
find_parent(char *parent, size_t parent_bytes)
{
	const char *told = getenv("TIDE_TEST_CGROUP");
	struct stat stat_of_it;

	if (told != NULL) {
		snprintf(parent, parent_bytes, "%s", told);
		return true;
	}
	return geteuid() != 0 && find_own(parent, parent_bytes) && stat(parent, &stat_of_it) == 0 &&
	       stat_of_it.st_uid == geteuid();
}

static bool
make_group(void)
{
	char parent[4096];

	if (!find_parent(parent, sizeof(parent))) {
		printf("skipped: no cgroup was delegated to us, and TIDE_TEST_CGROUP names none\n");
		return false;
	}
	snprintf(group, sizeof(group), "%s/tidepool-test-%d", parent, (int)getpid());
	if (mkdir(group, 0755) != 0) {
		printf("skipped: %s: %s\n", group, strerror(errno));
		return false;
	}
	if (set_limit())
		return true;
	printf("skipped: %s has no limit on memory: %s\n", group, strerror(errno));
	rmdir(group);
	return false;
}

/* The last of its processes may take a moment to be gone for the kernel, too. */
static void
remove_group(void)
{
	for (unsigned i = 0; rmdir(group) != 0 && i < 100; i++)
		nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
}

/* ---- in the cgroup -------------------------------------------------------- */

static void *objs[OBJS_MAX];

/* Gets and writes until there is no more, or OBJS_MAX; how many. */
static size_t
fill(tide_pool *pool)
{
	size_t n = 0;

	while (n < OBJS_MAX && (objs[n] = tide_get(pool)) != NULL)
		memset(objs[n++], 0x5a, OBJECT_BYTES);
	return n;
}

static void
grow(size_t max_bytes)
{
	tide_pool *pool = tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "grows",
		.object_bytes = OBJECT_BYTES,
		.reset = tide_reset_zero,
		.max_bytes = max_bytes,
	});

	STRESS_CHECK(pool != NULL, "create");
	for (unsigned round = 0; round < 3; round++) {
		size_t n = fill(pool);

		STRESS_CHECK(n == max_bytes / OBJECT_BYTES && errno == ENOMEM, "%zu: %s", n,
			     strerror(errno));
		STRESS_CHECK(tide_pool_reserve(pool, 1) == -ENOMEM, "reserve");
		for (size_t i = 0; i < n; i++)
			tide_put(pool, objs[i]);
		STRESS_CHECK(tide_check() == 0, "tide_check");
	}
	STRESS_CHECK(tide_pool_destroy(pool) == 0, "destroy");
}

/* Its status; in the group from before it does anything. */
static int
run_in_group(size_t max_bytes)
{
	pid_t child = fork();
	int status;

	STRESS_CHECK(child >= 0, "fork");
	if (child == 0) {
		alarm(120);
		if (!write_file("cgroup.procs", "0"))
			_exit(STRESS_SKIP);
		grow(max_bytes);
		_exit(0);
	}
	STRESS_CHECK(waitpid(child, &status, 0) == child, "waitpid");
	return status;
}

int
main(int argc, char **argv)
{
	int capped, uncapped;

	stress_start(argc, argv);
	setenv("TIDENUMA", "off", 1);
#if SANITIZED
	printf("skipped: a sanitizer's own memory counts too\n");
	return STRESS_SKIP;
#endif
	if (!make_group())
		return STRESS_SKIP;
	capped = run_in_group(LIMIT_BYTES / 2);
	uncapped = WIFEXITED(capped) && WEXITSTATUS(capped) == 0 ? run_in_group(0) : 0;
	remove_group();
	if (WIFEXITED(capped) && WEXITSTATUS(capped) == STRESS_SKIP) {
		printf("skipped: no process may be moved into %s\n", group);
		return STRESS_SKIP;
	}
	STRESS_CHECK(capped == 0, "with max_bytes: status %#x", (unsigned)capped);
	/* Or else the limit did not hold, and the first part says nothing. */
	STRESS_CHECK(WIFSIGNALED(uncapped) && WTERMSIG(uncapped) == SIGKILL,
		     "without max_bytes: status %#x", (unsigned)uncapped);
	return 0;
}
