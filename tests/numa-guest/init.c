/* SPDX-License-Identifier: MIT */
/*
 * init - the first and only process that the guest of `run` starts with: makes
 * the machine whole (mounts, cpus), refuses one that does not have the nodes and
 * cpus it was to have, runs the test programs one after another, and tells the
 * emulator how it went. Linked statically; nothing else is in the guest but the
 * programs and what they are linked with.
 *
 * Read by `run`, so to be changed there too:
 *
 *     guest: up                        first of all
 *     PASS name, seconds               a line a program
 *     FAIL name: reason
 *     SKIP name: reason
 *     guest: N passed, N failed, N skipped
 *
 * The kernel hands over nodes=N and cpus=N of its command line as environment.
 * /tests/list names the programs in /tests; '!' before one: it may not skip.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define EXIT_PORT    0xf4 /* of isa-debug-exit, which ends the emulator with 2 v + 1 */
#define GOOD         0x10
#define BAD          0x11
#define TEST_SECONDS 120 /* a hang, not a slow machine */
#define SKIPPED      77

#define CPU_FOLDER  "/sys/devices/system/cpu"
#define NODE_FOLDER "/sys/devices/system/node"

static unsigned passed, failed, skipped;
static pid_t running;

static void finish(bool is_good) __attribute__((noreturn));

/* The emulator may end while the serial line still has bytes: they go first. */
static void
finish(bool is_good)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	if (ioperm(EXIT_PORT, 4, 1) == 0)
		outl(is_good ? GOOD : BAD, EXIT_PORT);
	/* Not reached; and what comes now is 0, which `run` takes for no result. */
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void
give_up(const char *what, const char *why)
{
	printf("guest: %s: %s\n", what, why);
	finish(false);
}

/* ---- the machine ---------------------------------------------------------- */

static void
mount_at(const char *type, const char *folder)
{
	mkdir(folder, 0755);
	if (mount(type, folder, type, 0, NULL) != 0 && errno != EBUSY)
		give_up(folder, strerror(errno));
}

/* Standard input is empty, the rest goes to the serial line. */
static void
open_console(void)
{
	int console;

	mkdir("/dev", 0755);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	console = open("/dev/console", O_RDWR);
	if (console < 0)
		finish(false); /* with nowhere to say so */
	dup2(console, STDOUT_FILENO);
	dup2(console, STDERR_FILENO);
	setvbuf(stdout, NULL, _IOLBF, 0);
	dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
}

/* How many entries a folder has of a name with a number behind it; calls fn for each. */
static unsigned
each_numbered(const char *folder, const char *name, void (*fn)(const char *entry))
{
	DIR *dir = opendir(folder);
	size_t length = strlen(name);
	struct dirent *entry;
	unsigned n = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		const char *number = entry->d_name + length;

		if (strncmp(entry->d_name, name, length) != 0 || *number == '\0' ||
		    strspn(number, "0123456789") != strlen(number))
			continue;
		n++;
		if (fn != NULL)
			fn(entry->d_name);
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

/*
 * The kernel started on one cpu (maxcpus=1): with all of them, about one boot in
 * a hundred hangs in the emulator.
 */
static void
bring_online(const char *cpu)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), CPU_FOLDER "/%s/online", cpu);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return; /* the first cpu has no such file */
	if (write(fd, "1", 1) != 1)
		printf("guest: %s stays offline: %s\n", cpu, strerror(errno));
	close(fd);
}

/* A machine without the tables of ACPI silently has one node. */
static void
expect(const char *what, unsigned found)
{
	const char *wanted = getenv(what);
	char text[64];

	if (wanted != NULL && strtoul(wanted, NULL, 10) == found)
		return;
	snprintf(text, sizeof(text), "%u found, %s wanted", found,
		 wanted != NULL ? wanted : "none");
	give_up(what, text);
}

/* ---- the programs --------------------------------------------------------- */

static void
kill_running(int signal)
{
	(void)signal;
	kill(-running, SIGKILL);
}

static int
run(const char *path)
{
	int status;

	fflush(stdout);
	running = fork();
	if (running < 0)
		give_up("fork", strerror(errno));
	if (running == 0) {
		setpgid(0, 0);
		execl(path, path, (char *)NULL);
		_exit(127);
	}
	setpgid(running, running);
	alarm(TEST_SECONDS);
	while (waitpid(running, &status, 0) < 0 && errno == EINTR)
		;
	alarm(0);
	/* Of a test that died its own children may be left. */
	kill(-running, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	return status;
}

static void
run_and_tell(const char *name, bool may_skip)
{
	char path[512];
	struct timespec begin, end;
	int status;

	snprintf(path, sizeof(path), "/tests/%s", name);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	status = run(path);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		passed++;
		printf("PASS %s, %.1f s\n", name,
		       (double)(end.tv_sec - begin.tv_sec) +
			       (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
	} else if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED && may_skip) {
		skipped++;
		printf("SKIP %s: its reason is above\n", name);
	} else {
		failed++;
		if (WIFSIGNALED(status))
			printf("FAIL %s: signal %d%s\n", name, WTERMSIG(status),
			       WTERMSIG(status) == SIGKILL ? ", it may have taken too long" : "");
		else
			printf("FAIL %s: exit status %d\n", name, WEXITSTATUS(status));
	}
}

int
main(void)
{
	char line[256];
	FILE *list;

	open_console();
	puts("guest: up");
	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("tmpfs", "/tmp");
	each_numbered(CPU_FOLDER, "cpu", bring_online);
	expect("cpus", (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	expect("nodes", each_numbered(NODE_FOLDER, "node", NULL));

	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = kill_running }, NULL);
	list = fopen("/tests/list", "re");
	if (list == NULL)
		give_up("/tests/list", strerror(errno));
	while (fgets(line, sizeof(line), list) != NULL) {
		bool may_skip = line[0] != '!';

		line[strcspn(line, "\n")] = '\0';
		run_and_tell(may_skip ? line : line + 1, may_skip);
	}
	printf("guest: %u passed, %u failed, %u skipped\n", passed, failed, skipped);
	finish(failed == 0 && passed > 0);
}
