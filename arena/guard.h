/* SPDX-License-Identifier: MIT */
/*
 * Who may touch the bytes of a slot, told to those who can tell on the others:
 * AddressSanitizer (builds with --enable-sanitize=address), which then reports a
 * use-after-put at the access, or valgrind's memcheck (--enable-valgrind), which
 * names the put as well. All other builds have these functions empty: they cost
 * nothing, and what calls them needs no #if.
 *
 *                lend                      take
 *     at rest ----------> its owner's ----------> in hand
 *       ^ |               (object_bytes)            ^ |
 *       | `------------------ open -----------------' |
 *       `-------------------- shut -------------------'
 *
 * At rest are an idle object, an empty slot, and always the rest of a slot behind
 * the object. In hand it is tidepool's and its hooks'. A pinned object stays its
 * owner's until the last unpin.
 *
 * The sanitizer judges by 8 bytes, and two threads must not write the shadow of the
 * same 8: only those that are wholly in one slot are ever shut.
 *
 * Memcheck's requests cost a few instructions each even where it is not running,
 * therefore the switch.
 */
#ifndef TIDEP_ARENA_GUARD_H
#define TIDEP_ARENA_GUARD_H

#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#define TIDEP_GUARD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TIDEP_GUARD_ASAN 1
#endif
#endif

#if defined(TIDEP_GUARD_ASAN)
#include <sanitizer/asan_interface.h>
#define TIDEP_GUARD_BYTES ((uintptr_t)8)
#elif defined(TIDEP_VALGRIND)
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>
#endif

/* Whoever lends objects is made known first, and when all of them are back gone. */
static inline void
tidep_arena_guard_init(const void *owner)
{
	(void)owner;
#if !defined(TIDEP_GUARD_ASAN) && defined(TIDEP_VALGRIND)
	VALGRIND_CREATE_MEMPOOL(owner, 0, 1);
#endif
}

static inline void
tidep_arena_guard_fini(const void *owner)
{
	(void)owner;
#if !defined(TIDEP_GUARD_ASAN) && defined(TIDEP_VALGRIND)
	VALGRIND_DESTROY_MEMPOOL(owner);
#endif
}

/* So many bytes of a slot at rest are an object that is somebody's. */
static inline void
tidep_arena_guard_lend(const void *owner, void *obj, size_t bytes)
{
	(void)owner;
	(void)obj;
	(void)bytes;
#if defined(TIDEP_GUARD_ASAN)
	ASAN_UNPOISON_MEMORY_REGION(obj, bytes);
#elif defined(TIDEP_VALGRIND)
	VALGRIND_MEMPOOL_ALLOC(owner, obj, bytes);
#endif
}

/* An object is nobody's any more; so many bytes of its slot are in hand. */
static inline void
tidep_arena_guard_take(const void *owner, void *obj, size_t bytes)
{
	(void)owner;
	(void)obj;
	(void)bytes;
#if defined(TIDEP_GUARD_ASAN)
	ASAN_UNPOISON_MEMORY_REGION(obj, bytes);
#elif defined(TIDEP_VALGRIND)
	VALGRIND_MEMPOOL_FREE(owner, obj);
	VALGRIND_MAKE_MEM_DEFINED(obj, bytes);
#endif
}

/* Bytes of slots at rest, or of a whole slab's, are in hand. */
static inline void
tidep_arena_guard_open(void *from, size_t bytes)
{
	(void)from;
	(void)bytes;
#if defined(TIDEP_GUARD_ASAN)
	ASAN_UNPOISON_MEMORY_REGION(from, bytes);
#elif defined(TIDEP_VALGRIND)
	VALGRIND_MAKE_MEM_DEFINED(from, bytes);
#endif
}

/* A whole slot in hand, or many of them, is at rest. */
static inline void
tidep_arena_guard_shut(void *from, size_t bytes)
{
	(void)from;
	(void)bytes;
#if defined(TIDEP_GUARD_ASAN)
	uintptr_t first = ((uintptr_t)from + TIDEP_GUARD_BYTES - 1) & ~(TIDEP_GUARD_BYTES - 1);
	uintptr_t end = ((uintptr_t)from + bytes) & ~(TIDEP_GUARD_BYTES - 1);

	ASAN_POISON_MEMORY_REGION((void *)first, end - first);
#elif defined(TIDEP_VALGRIND)
	VALGRIND_MAKE_MEM_NOACCESS(from, bytes);
#endif
}

#endif
