/* SPDX-License-Identifier: MIT */
/*
 * tide.h - Tidepool, an object-pool runtime.
 *
 * A pool hands out objects of one size and takes them back reset. Idle objects
 * rest in per-thread caches and in depots of the NUMA node their memory is on.
 *
 * Errors: creators return a pointer, or NULL with errno set; other functions
 * return 0 or a negative errno; what cannot fail returns void.
 *
 * Threads: every function may be called from any thread at any time, except
 * where it says otherwise. None may be called from a signal handler: a call that
 * interrupts another one inside tidepool is refused and reported as
 * TIDE_REENTERED, with EDEADLK where it has an error to return (statistics are
 * all zero then), never carried out on a half-changed cache or left waiting for a
 * lock that its own thread holds.
 *
 * Cancellation: no call is a cancellation point of its own, and nothing is locked or
 * lost by it. It is disabled while init, fini and the callback of a walk run; a
 * thread that is cancelled in a reset has its object let go as it ends. A thread
 * that is cancelled asynchronously may lose the object it was just getting or
 * putting: nobody is given that again. Its cleanup handlers must not call tidepool
 * then; its destructors may.
 *
 * Fork: parent and child both go on with everything, wherever other threads were,
 * and in hooks too. The child has all pools and refs. Idle objects that threads which
 * are not in the child had cached are there for its gets; what those threads had got,
 * had pinned, or had in hand in a hook is live in the child for ever, unless it knows
 * the pointer or ref and puts it: a pool with such objects cannot be destroyed there.
 * A fork waits for other threads' slow paths, not for their hooks. A child that only
 * execs pays for nothing but that. A fork out of a signal handler that interrupted
 * tidepool, and _Fork() and vfork(), which ask nobody, are for a child that only execs.
 * A program's own pthread_atfork() handlers may take locks that are held around calls
 * of tidepool, if they are registered after the library was loaded.
 *
 * Misuse (a double put, a foreign pointer ...) is reported on standard error
 * and aborts the process, unless a handler set by tide_set_misuse_handler()
 * returns; then the call is refused and nothing is changed. (But an object whose
 * reset has left it dirty is let go: it was put already.)
 */
#ifndef TIDE_H
#define TIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define TIDE_VERSION 0x000100 /* 0.1.0: one byte each for major, minor, patch */

/* The version of the library that is linked in, as TIDE_VERSION. */
uint32_t tide_version(void);

/*
 * Reads the settings TIDEGC, TIDEMEMLIMIT, TIDENUMA and TIDEDEBUG and the
 * machine's topology. Optional: the first tide_pool_create() does the same.
 * The environment is read once; later calls return the first one's result.
 *
 * Returns 0; -EINVAL after a line on stderr that names the variable, its value
 * and what is accepted; -ENOMEM (this one may be tried again); -EDEADLK: called from
 * a signal handler inside tidepool.
 * Cost: tens of milliseconds once, a load and a test afterwards.
 */
int tide_init(void);

typedef struct tide_pool tide_pool;

/* Names one life of one object; 0 is never valid. */
typedef uint64_t tide_ref;

/*
 * Hooks. They run on the thread whose call needs them, with no lock of
 * tidepool's held, so they may call tidepool. They must not longjmp or throw.
 *
 * init    makes an object out of zero bytes; 0, or a negative errno which the
 *         get that needed it reports. Runs when a slot is handed out for the
 *         first time, or again after its fini; never on create.
 * reset   makes a used object as good as new; only its first `used` bytes were
 *         written. Not 0: the object is broken; it gets its fini and is let go.
 * fini    undoes init; once for each successful init.
 * verify  is the object as reset should leave it? Asked after each reset with
 *         TIDEDEBUG=verifyreset=1.
 */
typedef int tide_init_fn(void *obj, void *ctx);
typedef int tide_reset_fn(void *obj, size_t used, void *ctx);
typedef void tide_fini_fn(void *obj, void *ctx);
typedef bool tide_verify_fn(const void *obj, void *ctx);

/* Ready-made resets: clear `used` bytes; wipe is never optimised away. */
extern tide_reset_fn tide_reset_zero;
extern tide_reset_fn tide_reset_wipe;

/* Where a pool's memory lies. */
#define TIDE_LOCAL      0u /* on the node of the thread that needed it first */
#define TIDE_INTERLEAVE 1u /* page by page over all nodes */
#define TIDE_BIND       2u /* on tide_pool_config.node */

/*
 * Set config_bytes to sizeof(struct tide_pool_config) and what you do not need
 * to zero: designated initializers do both.
 */
struct tide_pool_config {
	size_t config_bytes;    /* sizeof(struct tide_pool_config) */
	const char *name;       /* [a-z0-9_.-]{1,63}; copied; for reports and metrics */
	size_t object_bytes;    /* 1 to 64 MiB */
	size_t align_bytes;     /* power of two to 64 KiB; 0 = 16, or 64 from 64 bytes up */
	tide_init_fn *init;     /* NULL = zero bytes are good */
	tide_reset_fn *reset;   /* mandatory */
	tide_fini_fn *fini;     /* NULL = nothing to undo */
	tide_verify_fn *verify; /* NULL = no check */
	void *ctx;              /* handed to the hooks */
	size_t max_bytes;       /* object_bytes of live and idle objects; 0 = no cap */
	uint32_t placement;     /* TIDE_LOCAL, TIDE_INTERLEAVE or TIDE_BIND */
	uint32_t node;          /* for TIDE_BIND; else 0 */
	uint32_t flags;         /* 0 */
};

/*
 * Creates a pool; no object yet, and no hook is run.
 * Two pools may have one name; the later one is reported as "name#2".
 *
 * Returns the pool, to be given to tide_pool_destroy(), or NULL:
 *   EINVAL  a field is out of range (one line on stderr says which), or a
 *           setting is malformed, see tide_init()
 *   E2BIG   config_bytes is larger than this library knows, and the tail is
 *           not zero
 *   ENOMEM  out of memory
 */
tide_pool *tide_pool_create(const struct tide_pool_config *config);

/*
 * Runs fini on every idle object and gives all memory back. No other thread
 * may be using the pool, or do so afterwards.
 *
 * Returns 0; -EINVAL for NULL; -EBUSY after a TIDE_LEAK report while objects
 * are live: the pool is as good as before, and may be destroyed once they are
 * put; -EBUSY without a report from an init or fini of the same pool.
 */
int tide_pool_destroy(tide_pool *pool);

/* As configured. The name lives as long as the pool. */
const char *tide_pool_name(const tide_pool *pool);
size_t tide_pool_object_bytes(const tide_pool *pool);

/* The oldest pool of that name, or NULL. Takes a lock. */
tide_pool *tide_pool_find(const char *name);

/*
 * Hands out an object: zero bytes, what init made of them, or as the last
 * successful reset left it. The caller owns it until it puts it.
 *
 * Returns the object, or NULL with errno:
 *   ENOMEM     no memory, or the pool is at max_bytes and every idle object
 *              that other threads were not just using has been looked for
 *   EDEADLK    called from a signal handler inside tidepool (after a report)
 *   ESHUTDOWN  called by a hook of a pool that is being destroyed
 *   otherwise  what init returned, its sign turned
 * Cost: a hit takes no lock and no atomic read-modify-write.
 */
void *tide_get(tide_pool *pool);

/*
 * The same, from the memory of one node, whichever thread asks. At max_bytes an
 * idle object of another node is let go to make room.
 * Also NULL with EINVAL: no such node, or not one that the pool may use.
 * Cost: as tide_get() on the caller's own node; elsewhere a lock.
 */
void *tide_get_on(tide_pool *pool, unsigned node);

/*
 * Takes an object back and resets it. NULL is nothing to do. After the call
 * the pointer is nobody's. Keeps errno.
 * Misuse: TIDE_DOUBLE_PUT, TIDE_FOREIGN_PUT, TIDE_WRONG_POOL, TIDE_REENTERED.
 * If somebody has the object pinned, its last unpin resets it and takes it back.
 * Cost: the reset, and one atomic read-modify-write.
 */
void tide_put(tide_pool *pool, void *obj);

/*
 * The same, where only the first `used` bytes were written since the get:
 * only they are reset. `used` beyond the object is TIDE_OVERFLOW.
 */
void tide_put_used(tide_pool *pool, void *obj, size_t used);

/*
 * Takes back an object that is broken: fini instead of reset, and its memory
 * is cleared. NULL is nothing to do. Misuse as for tide_put(). Takes a lock.
 */
void tide_discard(tide_pool *pool, void *obj);

/*
 * Gets n objects into objs[], or none. Returns 0 or the negative of what
 * tide_get() would leave in errno; objects got before that go back by a put.
 */
int tide_get_bulk(tide_pool *pool, void **objs, size_t n);

/* Puts n objects. A bad one is reported and refused alone; NULLs are skipped. */
void tide_put_bulk(tide_pool *pool, void *const *objs, size_t n);

/*
 * Refs. The pointer is for the object's one owner; a ref is for everybody else:
 * epoll data, timers, callbacks, other languages. A ref of a life that has ended
 * is stale, for ever: it never names the next object in the same place.
 * Any 64 bits may be given as a ref; what never was one is stale.
 */

/* As tide_get(), and the object's ref; 0 if it fails. */
void *tide_get_ref(tide_pool *pool, tide_ref *ref);

/* The ref of a live object, for its owner or while it is pinned; else 0. No lock. */
tide_ref tide_ref_of(const tide_pool *pool, const void *obj);

/*
 * Turns a ref into a pointer that stays good until tide_unpin(). A pin gives
 * lifetime, not exclusion: the owner may be writing, and others may have it
 * pinned too. If the owner puts the object meanwhile, every ref to it is stale at
 * once, and the last unpin resets all its bytes and hands it back.
 *
 * Returns the object, or NULL with errno: ESTALE; EOVERFLOW, it has 2^20 - 1025
 * pins already (1024 more are kept for walks).
 * Cost: one atomic read-modify-write, and one for the unpin; no lock.
 */
void *tide_pin(tide_pool *pool, tide_ref ref);

/*
 * Ends one pin; NULL is nothing to do. Hooks may run, on this thread, if the
 * object was put meanwhile. Misuse: TIDE_BAD_UNPIN, TIDE_WRONG_POOL.
 */
void tide_unpin(tide_pool *pool, void *obj);

/* false is final; true may be old news. No lock, no read-modify-write. */
bool tide_ref_is_live(const tide_pool *pool, tide_ref ref);

/*
 * Puts by ref, as tide_put() and tide_put_used(). Of any number of threads that
 * put one ref, one succeeds.
 * Returns 0; -ESTALE, which is refused and no misuse; after a report -EINVAL
 * (`used` is beyond the object) or -EDEADLK (re-entered).
 */
int tide_put_ref(tide_pool *pool, tide_ref ref);
int tide_put_ref_used(tide_pool *pool, tide_ref ref, size_t used);

/*
 * Calls fn for live objects, each pinned meanwhile, while other threads get and
 * put: each that is live throughout the walk is visited exactly once, others at
 * most once; each was live when it was pinned. fn ends the walk by not returning
 * 0. It may call tidepool; to end the object's life it uses tide_put_ref() only,
 * and where anybody does that, the owner must put by ref too.
 * Returns how many were visited. Cost: a look at the slot words of all the pool's
 * slabs, two atomic read-modify-writes for each live object; no lock.
 */
size_t tide_pool_each(tide_pool *pool, int (*fn)(void *obj, tide_ref ref, void *arg), void *arg);

/*
 * Has memory for at least n objects beside the live ones committed on the
 * caller's node (or the pool's, for TIDE_BIND and TIDE_INTERLEAVE), so that the
 * next n gets there fault in nothing. Runs no hook. Holds up gets that need new
 * slots meanwhile.
 * Returns 0; -ENOMEM: no memory, or more than max_bytes; -EDEADLK: called from a
 * signal handler inside tidepool.
 */
int tide_pool_reserve(tide_pool *pool, size_t n);

/*
 * Hands what the calling thread has cached of every pool to the depots, where
 * other threads find it. A thread's exit does the same.
 */
void tide_thread_flush(void);

/* Kinds of misuse. */
#define TIDE_DOUBLE_PUT  1u /* the object is not live: it was put already */
#define TIDE_FOREIGN_PUT 2u /* not the start of any object of any pool */
#define TIDE_WRONG_POOL  3u /* an object of another pool */
#define TIDE_BAD_UNPIN   4u /* unpin without pin */
#define TIDE_OVERFLOW    5u /* `used` is beyond the object */
#define TIDE_DIRTY_RESET 6u /* reset did not leave the object as it should */
#define TIDE_REENTERED   7u /* called from a signal handler inside tidepool */
#define TIDE_LEAK        8u /* destroy while objects are live; never aborts */

struct tide_misuse_report {
	size_t report_bytes; /* sizeof(struct tide_misuse_report) */
	uint32_t kind;
	const char *pool; /* name, or "" */
	const void *obj;
	tide_ref ref;     /* of the object's present life, or its last one; 0 = none */
	const char *text; /* the whole report, one line */
};

/*
 * Has fn called with each report instead of printing it and aborting; NULL
 * restores that. fn runs on the misusing thread, with no lock held; it may be
 * called by several threads at once; the report lives until it returns. A
 * report that is under way may still call the handler before this one.
 */
void tide_set_misuse_handler(void (*fn)(const struct tide_misuse_report *report, void *arg),
			     void *arg);

/* "double put" and so on; "unknown" for other numbers. */
const char *tide_misuse_name(uint32_t kind);

/*
 * Counters of one pool. They are exact while no other thread uses the pool,
 * and near enough while others do. live + idle + released = created.
 */
struct tide_pool_stats {
	uint64_t gets;         /* objects handed out */
	uint64_t puts;         /* objects taken back by a put */
	uint64_t hits;         /* gets served from the thread's magazines */
	uint64_t refills;      /* magazines taken from a depot */
	uint64_t flushes;      /* magazines handed to a depot */
	uint64_t remote_puts;  /* puts of objects whose memory is on another node */
	uint64_t created;      /* objects made: successful inits */
	uint64_t released;     /* objects let go: finis */
	uint64_t live_objects; /* handed out now */
	uint64_t idle_objects; /* in the pool now */
	uint64_t live_bytes;   /* the same in object_bytes */
	uint64_t idle_bytes;
	uint64_t discards;         /* objects taken back by tide_discard() */
	uint64_t broken;           /* objects let go because their reset failed */
	uint64_t failed_gets;      /* gets that returned NULL */
	uint64_t local_gets;       /* gets whose object lies on the thread's home node */
	uint64_t committed_bytes;  /* memory held for slots and their words, touched or not */
	uint64_t magazine_objects; /* capacity of a magazine now; 0 = no thread caches */
	uint64_t caches;           /* thread caches bound to the pool now */
	uint64_t contended;        /* lost races for a depot */
};

/* Sums over all pools that exist, and the process's own. */
struct tide_stats {
	uint64_t gets;
	uint64_t puts;
	uint64_t hits;
	uint64_t refills;
	uint64_t flushes;
	uint64_t remote_puts;
	uint64_t created;
	uint64_t released;
	uint64_t live_objects;
	uint64_t idle_objects;
	uint64_t live_bytes;
	uint64_t idle_bytes;
	uint64_t committed_bytes; /* slots, slot words and magazines */
	int64_t gc_percent;       /* TIDEGC; -1 = off */
	int64_t memory_limit;     /* TIDEMEMLIMIT in bytes; INT64_MAX = off */
	uint64_t nodes;           /* NUMA nodes, real or pretended */
	uint64_t pools;
	uint64_t threads;           /* threads that have caches now */
	uint64_t misuses;           /* reports since the start */
	uint64_t decommit_failures; /* memory the kernel would not take back */
	uint64_t bind_failures;     /* memory the kernel would not bind to its node */
	uint64_t slow_gates;        /* 1 = no membarrier: gates cost an atomic exchange */
};

/*
 * Fill the struct up to stats_bytes, with zero beyond what this library knows.
 * Cost: a lock, and a walk over the caches.
 */
void tide_pool_stats_read(const tide_pool *pool, struct tide_pool_stats *stats, size_t stats_bytes);
void tide_stats_read(struct tide_stats *stats, size_t stats_bytes);

#define TIDE_TEXT       0u /* for people: a table */
#define TIDE_JSON       1u /* one object */
#define TIDE_PROMETHEUS 2u /* text exposition format 0.0.4 */

/*
 * Writes all statistics into dst as snprintf would: at most dst_bytes with the
 * final NUL; dst may be NULL if dst_bytes is 0. Pools that come or go and
 * counters that grow between two calls change the length.
 * Returns the length the whole text has, without the NUL; -EINVAL for an
 * unknown format; -ENOMEM.
 */
int tide_stats_format(char *dst, size_t dst_bytes, uint32_t format);

/*
 * Writes the same to a file descriptor; 0 or a negative errno, part of the text
 * may have been written then.
 */
int tide_stats_print(int fd, uint32_t format);

/*
 * Walks every slot, magazine and depot and proves: every idle object is in
 * exactly one place (one owner), live + idle + released = created (nothing
 * lost), every idle object rests on its own node (home). For tests and
 * debugging: no other thread may be inside tidepool meanwhile.
 * Returns 0; -EUCLEAN after a line on stderr for what is wrong; -EAGAIN: a thread
 * was using its cache, so nothing can be said; -ENOMEM.
 */
int tide_check(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
