/* SPDX-License-Identifier: MIT */
/*
 * A thread is stopped inside tide_pin(), tide_put_ref(), tide_put() or
 * tide_pool_each(), after one instruction, after two, and so on up to the return.
 * While it stands there the object's life is ended, its slab is emptied and
 * released, and another pool with objects of another size cuts its slab in the
 * same addresses, with live objects all over it; one of them has, in the same
 * slot word, the generation that the stopped thread is looking for. Then the thread
 * goes on: it must neither end nor pin a life of that other pool, and of two that
 * end the first life exactly one succeeds.
 *
 *     parent              child, the actor            child, the victim (traced)
 *     PREPARE       ----> fills the first pool
 *     op            --------------------------------> int3, calls
 *     steps it k times
 *     INTERFERE     ----> empties, cuts anew
 *     lets it go    --------------------------------> returns, int3, tells
 *     FINISH        ----> checks
 *
 * Of a stop inside a lock the actor cannot get past: if it does not answer soon,
 * the victim is let go first; that only makes this one stop less sharp.
 */
#include "config.h"

#include "refs_in_flight.h"

#if !CAN_STOP

int
main(void)
{
	puts("skipped: only on x86-64, and not under a sanitizer");
	return STRESS_SKIP;
}

#else

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#define STEPS_MAX   400
#define PATIENCE_MS 100

static const char *const op_names[] = { "tide_pin", "tide_put_ref", "tide_put", "tide_put_used",
					"tide_pool_each" };

struct shared *shared;
int actor_orders[2], actor_answers[2], victim_orders[2], victim_answers[2];

static pid_t child, victim;
static unsigned stop_at; /* for messages */

static void
give_up(const char *why)
{
	fprintf(stderr, "%s, stopped after %u instructions: %s\n", op_names[shared->op], stop_at,
		why);
	kill(child, SIGKILL);
	exit(1);
}

static void
send(int fd, int what)
{
	char byte = (char)what;

	if (write(fd, &byte, 1) != 1)
		give_up("the child is gone");
}

static void
await(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		give_up("the child failed");
}

static bool
answers_soon(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, PATIENCE_MS) == 1;
}

static void
await_stop(void)
{
	int status;

	if (waitpid(victim, &status, __WALL) != victim || !WIFSTOPPED(status))
		give_up("the victim died");
	if (WSTOPSIG(status) != SIGTRAP)
		give_up("the victim crashed");
}

static void
go_on(enum __ptrace_request how)
{
	if (ptrace(how, victim, NULL, NULL) != 0)
		give_up("ptrace");
}

static uint64_t
instruction_pointer(void)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, victim, offsetof(struct user, regs.rip), NULL);
}

/*
 * One trial; the victim stands still after `steps` instructions. Returns how many
 * it was stopped after, which is less if the call was over; notes in rips[], unless
 * that is NULL, where they were.
 */
static unsigned
try_stop(enum op op, unsigned steps, bool interferes, uint64_t *rips)
{
	unsigned done = 0;
	bool answered = true;

	shared->op = op;
	shared->in_flight = interferes;
	stop_at = steps;
	send(actor_orders[1], PREPARE);
	await(actor_answers[0]);
	send(victim_orders[1], (int)op);
	await_stop();
	while (done < steps && !atomic_load(&shared->returned)) {
		go_on(PTRACE_SINGLESTEP);
		await_stop();
		if (rips != NULL)
			rips[done] = instruction_pointer();
		done++;
	}
	if (interferes) {
		send(actor_orders[1], INTERFERE);
		answered = answers_soon(actor_answers[0]);
	}
	go_on(PTRACE_CONT);
	if (interferes && answered)
		await(actor_answers[0]);
	await_stop();
	go_on(PTRACE_CONT);
	await(victim_answers[0]);
	if (!interferes)
		send(actor_orders[1], INTERFERE);
	if (!interferes || !answered)
		await(actor_answers[0]);
	send(actor_orders[1], FINISH);
	await(actor_answers[0]);
	return done;
}

/* Loops are stopped in once at each instruction. */
static bool
was_before(const uint64_t *rips, unsigned at)
{
	for (unsigned i = 0; i < at; i++)
		if (rips[i] == rips[at])
			return true;
	return false;
}

static void
attack(enum op op, bool reissues)
{
	static uint64_t rips[STEPS_MAX];
	unsigned steps, stops = 0, recuts = 0;

	shared->reissues = reissues;
	/* Once at full speed: the linker binds what is called. */
	try_stop(op, 0, true, NULL);
	atomic_store(&shared->same_generation, 0);
	steps = try_stop(op, STEPS_MAX, false, rips);
	for (unsigned i = 0; i < steps; i++) {
		if (was_before(rips, i))
			continue;
		try_stop(op, i + 1, true, NULL);
		stops++;
		recuts += atomic_load(&shared->recut) != 0;
	}
	printf("%s: %u instructions, stopped at %u of them, %s in %u, %d with the "
	       "same generation\n",
	       op_names[op], steps, stops, reissues ? "slot reissued" : "memory cut anew", recuts,
	       atomic_load(&shared->same_generation));
	fflush(stdout);
	if (recuts == 0)
		give_up("the memory never was cut anew: nothing was tried");
}

/* false: it is not allowed here. */
static bool
seize(void)
{
	while (atomic_load(&shared->tid) == 0)
		usleep(1000);
	victim = atomic_load(&shared->tid);
	return ptrace(PTRACE_SEIZE, victim, NULL, (void *)PTRACE_O_EXITKILL) == 0;
}

static void
start_child(void)
{
	STRESS_CHECK(pipe(actor_orders) == 0 && pipe(actor_answers) == 0 &&
			     pipe(victim_orders) == 0 && pipe(victim_answers) == 0,
		     "pipe");
	atomic_store(&shared->tid, 0);
	child = fork();
	STRESS_CHECK(child >= 0, "fork");
	if (child == 0) {
		close(actor_orders[1]);
		close(victim_orders[1]);
		run_child();
	}
	close(actor_answers[1]);
	close(victim_answers[1]);
}

static void
end_child(void)
{
	int status;

	send(actor_orders[1], QUIT);
	/* A process is not over before its traced threads are seen to be. */
	waitpid(victim, &status, __WALL);
	if (waitpid(child, &status, 0) != child || status != 0)
		give_up("the child failed at its end");
	close(actor_orders[0]);
	close(actor_orders[1]);
	close(actor_answers[0]);
	close(victim_orders[0]);
	close(victim_orders[1]);
	close(victim_answers[0]);
}

int
main(int argc, char **argv)
{
	stress_start(argc, argv);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	STRESS_CHECK(shared != MAP_FAILED, "mmap");
	signal(SIGPIPE, SIG_IGN);
	for (enum op op = 0; op < OPS; op++) {
		start_child();
		if (!seize()) {
			printf("skipped: ptrace: %s\n", strerror(errno));
			kill(child, SIGKILL);
			return STRESS_SKIP;
		}
		attack(op, false);
		/* A stale pointer cannot be told from its next owner's; a ref can. */
		if (op == PIN || op == PUT_REF)
			attack(op, true);
		end_child();
	}
	return 0;
}

#endif
