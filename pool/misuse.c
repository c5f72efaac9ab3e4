/* SPDX-License-Identifier: MIT */
/*
 * Reports of misuse. They are made where things have already gone wrong: inside
 * a signal handler (TIDE_REENTERED is nothing else), in a forked child, with
 * the heap in any state. So the line is put together by hand on the stack, not
 * by printf, and the path of a report takes no lock.
 *
 * The handler and its arg are two words that must be read as a pair. Rejected:
 * a mutex around both, for a signal that interrupts its holder, or a fork while
 * another thread holds it, would wait for ever; a sequence lock, for the same
 * reason; a compare-and-swap of 16 bytes, for it needs libatomic. Instead there
 * are two pairs, and a version that says which one is in force. A setter fills
 * the other pair and then publishes it; a reader starts again only if a setter
 * finished meanwhile:
 *
 *                    report      set          the lock of setters is never held
 *     report           -          -           while a handler runs
 *     set              -          X
 */
#include "config.h"

#include "pool/misuse.h"

#include "pool/thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "pool/thread.h"

#define LINE_BYTES 512

typedef void handler_fn(const struct tide_misuse_report *report, void *arg);

static struct {
	_Atomic(handler_fn *) fn;
	_Atomic(void *) arg;
} handlers[2]; /* [version % 2] is in force; the other one is the setter's */
static _Atomic uint64_t handler_version;
static pthread_mutex_t setter_lock = PTHREAD_MUTEX_INITIALIZER;

static _Atomic uint64_t misuses;

static const char *const kind_names[] = {
	[TIDE_DOUBLE_PUT] = "double put", [TIDE_FOREIGN_PUT] = "foreign put",
	[TIDE_WRONG_POOL] = "wrong pool", [TIDE_BAD_UNPIN] = "bad unpin",
	[TIDE_OVERFLOW] = "overflow",     [TIDE_DIRTY_RESET] = "dirty reset",
	[TIDE_REENTERED] = "reentered",   [TIDE_LEAK] = "leak",
};

const char *
tide_misuse_name(uint32_t kind)
{
	if (kind == 0 || kind >= sizeof(kind_names) / sizeof(kind_names[0]))
		return "unknown";
	return kind_names[kind];
}

uint64_t
tidep_pool_misuses(void)
{
	return atomic_load_explicit(&misuses, memory_order_relaxed);
}

void
tide_set_misuse_handler(handler_fn *fn, void *arg)
{
	uint64_t version;

	if (tidep_pool_is_reentered(NULL, NULL, "a change of the misuse handler"))
		return;
	/* Hidden, so that no fork finds the lock held. */
	tidep_pool_hide();
	pthread_mutex_lock(&setter_lock);
	version = atomic_load_explicit(&handler_version, memory_order_relaxed) + 1;
	/* Release: who reads one of these also sees that the version before is published. */
	atomic_store_explicit(&handlers[version % 2].fn, fn, memory_order_release);
	atomic_store_explicit(&handlers[version % 2].arg, arg, memory_order_release);
	/* Release: who reads this version sees its pair. */
	atomic_store_explicit(&handler_version, version, memory_order_release);
	pthread_mutex_unlock(&setter_lock);
	tidep_pool_unhide();
}

static handler_fn *
current_handler(void **arg)
{
	for (;;) {
		/* Acquire: pairs with the release of the version. */
		uint64_t version = atomic_load_explicit(&handler_version, memory_order_acquire);
		/* Acquire: pairs with the releases of the pair, and keeps the last load last. */
		handler_fn *fn =
			atomic_load_explicit(&handlers[version % 2].fn, memory_order_acquire);
		*arg = atomic_load_explicit(&handlers[version % 2].arg, memory_order_acquire);

		/* This pair is refilled only after a later version was published. */
		if (atomic_load_explicit(&handler_version, memory_order_relaxed) == version)
			return fn;
	}
}

/* One line; what does not fit is cut, and the cut is marked by finish_line(). */
struct line {
	size_t len;
	bool cut;
	char text[LINE_BYTES];
};

static void
add_text(struct line *line, const char *text)
{
	static const char end[] = "...\n";

	for (; *text; text++) {
		if (line->len == LINE_BYTES - sizeof(end)) {
			line->cut = true;
			return;
		}
		/* A report stays one line whatever a detail says. */
		line->text[line->len++] = (unsigned char)*text < ' ' ? '?' : *text;
	}
}

static void
add_number(struct line *line, uint64_t number, unsigned base)
{
	char digits[sizeof("18446744073709551615")];
	char *digit = digits + sizeof(digits) - 1;

	*digit = '\0';
	do {
		*--digit = "0123456789abcdef"[number % base];
		number /= base;
	} while (number);
	add_text(line, digit);
}

static void
finish_line(struct line *line)
{
	if (line->cut)
		for (int dots = 0; dots < 3; dots++)
			line->text[line->len++] = '.';
	line->text[line->len] = '\0';
}

/* tidepool: double put: pool 'conns', object 0x7f12a4c0, generation 7: it was put already */
static void
build_line(struct line *line, uint32_t kind, const char *pool, const void *obj, uint64_t generation,
	   const char *detail)
{
	const char *before = ": ";

	line->len = 0;
	line->cut = false;
	add_text(line, "tidepool: ");
	add_text(line, tide_misuse_name(kind));
	if (pool && pool[0]) {
		add_text(line, before);
		add_text(line, "pool '");
		add_text(line, pool);
		add_text(line, "'");
		before = ", ";
	}
	if (obj) {
		add_text(line, before);
		add_text(line, "object 0x");
		add_number(line, (uintptr_t)obj, 16);
		before = ", ";
	}
	if (generation) {
		add_text(line, before);
		add_text(line, "generation ");
		add_number(line, generation, 10);
	}
	if (detail && detail[0]) {
		add_text(line, ": ");
		add_text(line, detail);
	}
	finish_line(line);
}

/* In one write if the kernel takes it, so that the lines of two threads do not mix. */
static void
print_line(struct line *line)
{
	const char *text = line->text;
	size_t left = line->len + 1;
	int cancel_state;

	line->text[line->len] = '\n';
	/* write() is a cancellation point: a thread must not be cancelled out of its abort. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
	while (left > 0) {
		ssize_t written = write(STDERR_FILENO, text, left);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			break; /* nobody can be told */
		text += written;
		left -= (size_t)written;
	}
	pthread_setcancelstate(cancel_state, NULL);
}

void
tidep_pool_misuse(uint32_t kind, const char *pool, const void *obj, tide_ref ref,
		  uint64_t generation, const char *detail)
{
	int saved_errno = errno;
	struct line line;
	void *arg;
	handler_fn *handler;

	atomic_fetch_add_explicit(&misuses, 1, memory_order_relaxed);
	build_line(&line, kind, pool, obj, generation, detail);
	handler = current_handler(&arg);
	if (handler) {
		const struct tide_misuse_report report = {
			.report_bytes = sizeof(report),
			.kind = kind,
			.pool = pool ? pool : "",
			.obj = obj,
			.ref = ref,
			.text = line.text,
		};

		handler(&report, arg);
	} else {
		print_line(&line);
		if (kind != TIDE_LEAK)
			abort();
	}
	errno = saved_errno;
}
