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

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "stress.h"

#if !defined(__x86_64__) || defined(STRESS_TSAN) || defined(STRESS_ASAN)

int
main(void)
{
	puts("skipped: only on x86-64, and not under a sanitizer");
	return STRESS_SKIP;
}

#else

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <tide.h>

#define GRANULE_SHIFT 16 /* slabs of both pools are one such piece of addresses */
#define FIRST_BYTES   128u
#define SECOND_BYTES  16u
#define FIRST_SLOTS   512u
#define SECOND_SLOTS  4096u
#define FIRST_BITS    9 /* of the index, in a ref */
#define SECOND_BITS   12
#define REF_BITS      40
#define OBJECTS       (3 * FIRST_SLOTS)
#define STEPS_MAX     400
#define CYCLES_MAX    2000 /* generations to go through until they meet */
#define PATIENCE_MS   100
#define FIRST_STAMP   UINT64_C(0x1111111111110000)
#define SECOND_STAMP  UINT64_C(0x2222222222220000)

enum op { PIN, PUT_REF, PUT, PUT_USED, EACH, OPS };

static const char *const op_names[] = { "tide_pin", "tide_put_ref", "tide_put", "tide_put_used",
					"tide_pool_each" };

enum order { PREPARE = 'p', INTERFERE = 'i', FINISH = 'f', QUIT = 'q' };

/* What parent and child share. */
struct shared {
	_Atomic int tid;
	_Atomic int returned; /* the victim's call */
	_Atomic int recut;    /* the second pool is where the victim's object was */
	_Atomic int same_generation;
	enum op op;
	bool reissues;  /* the slot is handed out again instead, by the same pool */
	bool in_flight; /* the actor came while the victim was inside, or might be */
};

static struct shared *shared;
static int actor_orders[2], actor_answers[2], victim_orders[2], victim_answers[2];

/* ---- the child ------------------------------------------------------------ */

static tide_pool *first, *second;
static char *objs[OBJECTS];
static char *seconds[SECOND_SLOTS];
static tide_ref second_refs[SECOND_SLOTS];
static char *wanted, *warm;
static tide_ref wanted_ref;
static bool actor_ended;

/* The victim's outcome. */
static void *pinned;
static int put_error;
static unsigned put_reports;
static unsigned strangers;

static __thread unsigned reports;

static void
on_misuse(const struct tide_misuse_report *report, void *arg)
{
	(void)report;
	(void)arg;
	reports++;
}

static tide_pool *
create(const char *name, size_t bytes)
{
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = name,
		.object_bytes = bytes,
		.reset = tide_reset_zero,
	};
	tide_pool *pool = tide_pool_create(&config);

	STRESS_CHECK(pool != NULL, "create");
	return pool;
}

static uintptr_t
granule(const void *obj)
{
	return (uintptr_t)obj >> GRANULE_SHIFT;
}

static void
stamp(char *obj, uint64_t value)
{
	memcpy(obj, &value, sizeof(value));
}

static uint64_t
stamp_of(const char *obj)
{
	uint64_t value;

	memcpy(&value, obj, sizeof(value));
	return value;
}

/* Three slabs, full: the first has the wanted object, the second one for the victim's cache. */
static void
prepare(void)
{
	first = create("first", FIRST_BYTES);
	second = create("second", SECOND_BYTES);
	for (unsigned i = 0; i < OBJECTS; i++) {
		objs[i] = tide_get(first);
		STRESS_CHECK(objs[i] != NULL, "get");
		stamp(objs[i], FIRST_STAMP + i);
	}
	wanted = objs[FIRST_SLOTS / 3];
	wanted_ref = tide_ref_of(first, wanted);
	STRESS_CHECK(wanted_ref != 0, "ref");
	warm = objs[FIRST_SLOTS];
	STRESS_CHECK(granule(warm) != granule(wanted), "two slabs");
	objs[FIRST_SLOTS] = NULL;
	pinned = NULL;
	put_error = -1;
	put_reports = 0;
	strangers = 0;
	actor_ended = false;
	atomic_store(&shared->recut, 0);
}

static uint64_t
generation_of(tide_ref ref, unsigned index_bits)
{
	return (ref & ((UINT64_C(1) << REF_BITS) - 1)) >> index_bits;
}

/* Has the object in the wanted one's slot word live again until generations meet. */
static void
meet_generation(uint64_t generation)
{
	uintptr_t base = granule(wanted) << GRANULE_SHIFT;
	size_t slot = ((uintptr_t)wanted - base) / FIRST_BYTES;

	for (unsigned i = 0; i < SECOND_SLOTS; i++) {
		if ((uintptr_t)seconds[i] != base + slot * SECOND_BYTES)
			continue;
		while (generation_of(second_refs[i], SECOND_BITS) < generation) {
			char *was = seconds[i];

			STRESS_CHECK(tide_put_ref(second, second_refs[i]) == 0, "put");
			seconds[i] = tide_get_ref(second, &second_refs[i]);
			STRESS_CHECK(seconds[i] != NULL, "get");
			stamp(seconds[i], SECOND_STAMP + i);
			if (seconds[i] != was)
				return;
		}
		if (generation_of(second_refs[i], SECOND_BITS) == generation)
			atomic_fetch_add(&shared->same_generation, 1);
	}
}

/* Ends all lives of a slab of the first pool but NULLs. */
static void
discard_slab(const void *in)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objs[i] == NULL || granule(objs[i]) != granule(in))
			continue;
		reports = 0;
		tide_discard(first, objs[i]);
		if (objs[i] == wanted)
			actor_ended = reports == 0;
		else
			STRESS_CHECK(reports == 0, "a discard was refused");
		objs[i] = NULL;
	}
}

/* The wanted object's next life, in the same slot of the same pool. */
static void
reissue(void)
{
	unsigned i = FIRST_SLOTS / 3;

	reports = 0;
	tide_put(first, wanted);
	actor_ended = reports == 0;
	objs[i] = NULL;
	if (!actor_ended)
		return;
	objs[i] = tide_get(first);
	STRESS_CHECK(objs[i] != NULL, "get");
	stamp(objs[i], FIRST_STAMP + i);
	atomic_store(&shared->recut, objs[i] == wanted);
}

static void
interfere(void)
{
	if (shared->reissues) {
		reissue();
		return;
	}
	/* One empty slab is kept: not the wanted one. */
	discard_slab(objs[OBJECTS - 1]);
	discard_slab(wanted);
	for (unsigned i = 0; i < SECOND_SLOTS; i++) {
		seconds[i] = tide_get_ref(second, &second_refs[i]);
		STRESS_CHECK(seconds[i] != NULL, "get");
		stamp(seconds[i], SECOND_STAMP + i);
	}
	if (granule(seconds[0]) != granule(wanted))
		return;
	atomic_store(&shared->recut, 1);
	/* A walk takes any life that it finds. */
	if (shared->op != EACH)
		meet_generation(generation_of(wanted_ref, FIRST_BITS));
}

static void
check_ends(void)
{
	switch (shared->op) {
	case PIN:
		STRESS_CHECK(actor_ended, "a discard was refused");
		break;
	case PUT_REF:
		STRESS_CHECK((put_error == 0) != actor_ended, "put by ref says %d, discard %d",
			     put_error, actor_ended);
		break;
	case PUT:
	case PUT_USED:
		STRESS_CHECK(put_reports <= 1 && (put_reports == 0) != actor_ended,
			     "put says %u, discard %d", put_reports, actor_ended);
		break;
	default:
		STRESS_CHECK(strangers == 0, "each met %u objects of another pool", strangers);
		STRESS_CHECK(actor_ended, "a discard was refused");
	}
}

static void
finish(void)
{
	struct tide_pool_stats stats;

	if (shared->in_flight)
		check_ends();
	STRESS_CHECK(tide_check() == 0, "tide_check");
	reports = 0;
	for (unsigned i = 0; i < SECOND_SLOTS && !shared->reissues; i++) {
		STRESS_CHECK(tide_ref_is_live(second, second_refs[i]), "a life was ended");
		STRESS_CHECK(stamp_of(seconds[i]) == SECOND_STAMP + i, "an object was written to");
		STRESS_CHECK(tide_put_ref(second, second_refs[i]) == 0, "a life was ended");
	}
	tide_pool_stats_read(second, &stats, sizeof(stats));
	STRESS_CHECK(stats.live_objects == 0, "%" PRIu64 " are pinned", stats.live_objects);
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (objs[i] == NULL)
			continue;
		STRESS_CHECK(stamp_of(objs[i]) == FIRST_STAMP + i, "an object was written to");
		tide_put(first, objs[i]);
	}
	STRESS_CHECK(reports == 0, "a put was refused");
	STRESS_CHECK(tide_pool_destroy(first) == 0, "destroy");
	/*
	 * Each trial leaves eight times the generations behind for the next one in
	 * the same place. When they are too many the second pool stays there.
	 */
	if (generation_of(wanted_ref, FIRST_BITS) < CYCLES_MAX)
		STRESS_CHECK(tide_pool_destroy(second) == 0, "destroy");
}

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)ref;
	(void)arg;
	if ((stamp_of(obj) & ~UINT64_C(0xffff)) != FIRST_STAMP)
		strangers++;
	return 0;
}

static void
call(enum op op)
{
	switch (op) {
	case PIN:
		pinned = tide_pin(first, wanted_ref);
		break;
	case PUT_REF:
		put_error = tide_put_ref(first, wanted_ref);
		break;
	case PUT:
		tide_put(first, wanted);
		break;
	case PUT_USED:
		tide_put_used(first, wanted, 8);
		break;
	default:
		tide_pool_each(first, visit, NULL);
	}
}

static void *
be_victim(void *unused)
{
	char op;

	(void)unused;
	atomic_store(&shared->tid, (int)syscall(SYS_gettid));
	while (read(victim_orders[0], &op, 1) == 1) {
		/* A cache with a magazine, so that the call may be a hit; or else none. */
		if (!shared->reissues)
			tide_put(first, warm);
		reports = 0;
		atomic_store(&shared->returned, 0);
		__asm__ volatile("int3" ::: "memory");
		call((enum op)op);
		atomic_store(&shared->returned, 1);
		__asm__ volatile("int3" ::: "memory");
		put_reports = reports;
		if (shared->reissues)
			tide_put(first, warm);
		if (pinned != NULL) {
			STRESS_CHECK(pinned == wanted, "pinned another object");
			STRESS_CHECK(!shared->in_flight || !atomic_load(&shared->recut),
				     "pinned what is another pool's, of generation %" PRIu64,
				     generation_of(wanted_ref, FIRST_BITS));
			STRESS_CHECK(stamp_of(pinned) == FIRST_STAMP + FIRST_SLOTS / 3,
				     "reset while pinned");
			tide_unpin(first, pinned);
			STRESS_CHECK(reports == 0, "the pin is gone");
		}
		STRESS_CHECK(write(victim_answers[1], &op, 1) == 1, "write");
	}
	return NULL;
}

static void
run_child(void)
{
	pthread_t victim;
	char order;

	/* Whatever becomes of the parent, nothing stays behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(120);
	setenv("TIDENUMA", "off", 1);
	tide_set_misuse_handler(on_misuse, NULL);
	STRESS_CHECK(tide_init() == 0, "init");
	STRESS_CHECK(pthread_create(&victim, NULL, be_victim, NULL) == 0, "thread");
	while (read(actor_orders[0], &order, 1) == 1) {
		if (order == PREPARE)
			prepare();
		else if (order == INTERFERE)
			interfere();
		else if (order == FINISH)
			finish();
		else
			_exit(0);
		STRESS_CHECK(write(actor_answers[1], &order, 1) == 1, "write");
	}
	_exit(1);
}

/* ---- the parent ----------------------------------------------------------- */

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
