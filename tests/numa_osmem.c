/* SPDX-License-Identifier: MIT */
/*
 * numa/osmem: what reserve, expose, open, bind, decommit and populate promise.
 * Whether an address may be touched is asked of the kernel.
 */
#include "config.h"

#include "numa/osmem.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "numa/fault.h"
#include "numa/topo.h"
#include "rooms.h"

#define MIB ((size_t)1 << 20)

static uint64_t
count_bind_failures(void)
{
	return atomic_load(&tidep_numa_bind_failures);
}

static uint64_t
count_decommit_failures(void)
{
	return atomic_load(&tidep_numa_decommit_failures);
}

/* One mapping, opened. */
static char *
map_open(size_t bytes)
{
	char *addr = tidep_numa_reserve(bytes, MIB);

	ck_assert_ptr_nonnull(addr);
	ck_assert_int_eq(tidep_numa_open(addr, bytes), 0);
	return addr;
}

START_TEST(the_page_is_the_kernels)
{
	ck_assert_uint_eq(tidep_numa_page_bytes(), (size_t)sysconf(_SC_PAGESIZE));
	ck_assert_uint_ge(tidep_numa_memory_bytes(), 16 * MIB);
}
END_TEST

START_TEST(reserve_aligns_and_keeps_no_more)
{
	size_t page = tidep_numa_page_bytes();

	for (size_t align = page; align <= 1024 * MIB; align *= 2) {
		for (size_t bytes = page; bytes <= 64 * MIB; bytes = bytes * 5 / page * page) {
			size_t before = address_bytes();
			char *addr = tidep_numa_reserve(bytes, align);

			ck_assert_ptr_nonnull(addr);
			ck_assert_uint_eq((uintptr_t)addr % align, 0);
			/* The trimmed ends are gone, and nothing but them. */
			ck_assert_uint_eq(address_bytes() - before, bytes);
			ck_assert(!is_readable(addr));
			ck_assert(!is_readable(addr + bytes - 1));
			tidep_numa_unreserve(addr, bytes);
			ck_assert_uint_eq(address_bytes(), before);
		}
	}
}
END_TEST

START_TEST(absurd_reservations_are_refused)
{
	size_t page = tidep_numa_page_bytes();
	size_t before = address_bytes();

	ck_assert_ptr_null(tidep_numa_reserve(SIZE_MAX & ~(page - 1), MIB));
	ck_assert_ptr_null(tidep_numa_reserve(SIZE_MAX & ~(page - 1), page));
	ck_assert_ptr_null(tidep_numa_reserve((size_t)1 << 62, page));
	ck_assert_uint_eq(address_bytes(), before);
}
END_TEST

START_TEST(exposed_reads_zero_and_takes_no_write)
{
	size_t bytes = 4 * MIB;
	char *addr = tidep_numa_reserve(bytes, MIB);

	ck_assert_ptr_nonnull(addr);
	ck_assert_int_eq(tidep_numa_expose(addr + MIB, MIB), 0);
	ck_assert(is_zero(addr + MIB, MIB));
	ck_assert(!is_writable(addr + MIB));
	ck_assert(!is_writable(addr + 2 * MIB - 1));
	ck_assert(!is_readable(addr + MIB - 1));
	ck_assert(!is_readable(addr + 2 * MIB));
	tidep_numa_unreserve(addr, bytes);
}
END_TEST

START_TEST(opened_reads_zero_and_keeps_what_is_written)
{
	size_t bytes = 4 * MIB;
	char *addr = tidep_numa_reserve(bytes, MIB);

	ck_assert_ptr_nonnull(addr);
	/* Exposed before, as the granule records are; and opened twice. */
	ck_assert_int_eq(tidep_numa_expose(addr, bytes), 0);
	ck_assert_int_eq(tidep_numa_open(addr + MIB, MIB), 0);
	ck_assert(is_zero(addr, bytes));
	ck_assert(!is_writable(addr + MIB - 1));
	ck_assert(!is_writable(addr + 2 * MIB));
	memset(addr + MIB, 0x5a, MIB);
	ck_assert_int_eq(tidep_numa_open(addr + MIB, 2 * MIB), 0);
	ck_assert_int_eq(addr[MIB], 0x5a);
	ck_assert_int_eq(addr[2 * MIB - 1], 0x5a);
	ck_assert_int_eq(addr[2 * MIB], 0);
	tidep_numa_unreserve(addr, bytes);
}
END_TEST

START_TEST(decommitted_reads_zero_and_is_given_back)
{
	size_t page = tidep_numa_page_bytes();
	size_t bytes = MIB;
	char *addr = map_open(bytes);

	tidep_numa_bind(addr, bytes, 0); /* small pages */
	memset(addr, 0xa5, bytes);
	ck_assert_uint_eq(count_resident(addr, bytes), bytes / page);
	ck_assert_uint_eq(tidep_numa_decommit(addr + 2 * page, 5 * page), 5 * page);
	ck_assert_uint_eq(count_resident(addr, bytes), bytes / page - 5);
	ck_assert_uint_eq((unsigned char)addr[2 * page - 1], 0xa5);
	ck_assert(is_zero(addr + 2 * page, 5 * page));
	ck_assert_uint_eq((unsigned char)addr[7 * page], 0xa5);
	ck_assert_uint_eq(count_decommit_failures(), 0);
	addr[3 * page] = 1;
	ck_assert_int_eq(addr[3 * page], 1);
	tidep_numa_unreserve(addr, bytes);
}
END_TEST

START_TEST(a_decommit_that_is_refused_clears_and_is_counted)
{
	size_t page = tidep_numa_page_bytes();
	char *addr = map_open(MIB);

	memset(addr, 0xa5, MIB);
	atomic_store(&tidep_numa_fault_in, 1);
	ck_assert_uint_eq(tidep_numa_decommit(addr, 2 * page), 0);
	ck_assert(is_zero(addr, 2 * page));
	ck_assert_uint_eq((unsigned char)addr[2 * page], 0xa5);
	ck_assert_uint_eq(count_decommit_failures(), 1);
	ck_assert_uint_eq(count_resident(addr, 2 * page), 2);
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

START_TEST(locked_pages_are_cleared_and_counted)
{
	size_t bytes = 8 * tidep_numa_page_bytes();
	char *addr = map_open(MIB);

	memset(addr, 0xa5, MIB);
	/* Not mlock(), which a sanitizer turns into nothing. */
	if (syscall(SYS_mlock, addr, bytes) != 0) {
		puts("locked_pages_are_cleared_and_counted: skipped, mlock is not permitted");
		return;
	}
	ck_assert_uint_eq(tidep_numa_decommit(addr, bytes), 0);
	ck_assert(is_zero(addr, bytes));
	ck_assert_uint_eq((unsigned char)addr[bytes], 0xa5);
	ck_assert_uint_eq(count_decommit_failures(), 1);
	ck_assert_int_eq(syscall(SYS_munlock, addr, bytes), 0);
	ck_assert_uint_eq(tidep_numa_decommit(addr, bytes), bytes);
	ck_assert_uint_eq(count_decommit_failures(), 1);
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

START_TEST(populated_is_in_memory_and_unchanged)
{
	size_t page = tidep_numa_page_bytes();
	char *addr = map_open(MIB);

	tidep_numa_bind(addr, MIB, 0);
	addr[3 * page + 5] = 42;
	ck_assert_uint_eq(count_resident(addr, MIB), 1);
	ck_assert_int_eq(tidep_numa_populate(addr, 16 * page), 0);
	ck_assert_uint_eq(count_resident(addr, 16 * page), 16);
	ck_assert_uint_eq(count_resident(addr, MIB), 16);
	ck_assert_int_eq(addr[3 * page + 5], 42);
	addr[3 * page + 5] = 0;
	ck_assert(is_zero(addr, MIB));
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

START_TEST(each_call_can_be_refused)
{
	char *addr = map_open(MIB);
	size_t before = address_bytes();

	atomic_store(&tidep_numa_fault_in, 1);
	ck_assert_ptr_null(tidep_numa_reserve(MIB, MIB));
	ck_assert_uint_eq(address_bytes(), before);
	atomic_store(&tidep_numa_fault_in, 1);
	ck_assert_int_eq(tidep_numa_expose(addr, MIB), -ENOMEM);
	atomic_store(&tidep_numa_fault_in, 1);
	ck_assert_int_eq(tidep_numa_open(addr, MIB), -ENOMEM);
	atomic_store(&tidep_numa_fault_in, 1);
	ck_assert_int_eq(tidep_numa_populate(addr, MIB), -ENOMEM);
	ck_assert_uint_eq(count_resident(addr, MIB), 0);
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

START_TEST(the_address_limit)
{
	size_t before = address_bytes();
	struct rlimit limit;
	void *addr;

	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	if (limit.rlim_cur == RLIM_INFINITY)
		ck_assert_uint_eq(tidep_numa_address_limit(), SIZE_MAX);
	limit.rlim_cur = before + 256 * MIB;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	ck_assert_uint_eq(tidep_numa_address_limit(), before + 256 * MIB);
	ck_assert_ptr_null(tidep_numa_reserve(512 * MIB, MIB));
	addr = tidep_numa_reserve(64 * MIB, MIB);
	ck_assert_ptr_nonnull(addr);
	tidep_numa_unreserve(addr, 64 * MIB);
}
END_TEST

/* Does a mapping that has addr in it have the flag in /proc/self/smaps? */
static bool
has_vm_flag(const void *addr, const char *flag)
{
	FILE *file = fopen("/proc/self/smaps", "r");
	bool inside = false;
	bool found = false;
	char line[1024];

	ck_assert_ptr_nonnull(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		unsigned long from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)addr >= from && (uintptr_t)addr < to;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	fclose(file);
	return found;
}

START_TEST(bound_pages_stay_small)
{
	char *addr = tidep_numa_reserve(4 * MIB, 2 * MIB);

	ck_assert_ptr_nonnull(addr);
	if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
		puts("bound_pages_stay_small: skipped, the kernel has no huge pages");
		return;
	}
	ck_assert(!has_vm_flag(addr, " nh"));
	tidep_numa_bind(addr, 2 * MIB, 0);
	ck_assert(has_vm_flag(addr, " nh"));
	ck_assert(!has_vm_flag(addr + 2 * MIB, " nh"));
	tidep_numa_unreserve(addr, 4 * MIB);
}
END_TEST

START_TEST(a_binding_that_fails_is_counted)
{
	char *addr = tidep_numa_reserve(MIB, MIB);

	ck_assert_ptr_nonnull(addr);
	/* hwloc accepts every binding on a machine that is not this one. */
	setenv("HWLOC_SYNTHETIC", "node:2 pu:2", 1);
	ck_assert_int_eq(tidep_numa_topo_load(0), 0);
	tidep_numa_bind(addr, MIB, 0);
	tidep_numa_bind(addr, MIB, 1);
	tidep_numa_bind(addr, MIB, TIDEP_NODE_INTERLEAVE);
	ck_assert_uint_eq(count_bind_failures(), 0);
	tidep_numa_bind(addr, MIB, 2);
	ck_assert_uint_eq(count_bind_failures(), 1);
	/* Two can be refused, the policy and the small pages: each is one failure. */
	for (int n = 1; n <= 2; n++) {
		atomic_store(&tidep_numa_fault_in, n);
		tidep_numa_bind(addr, MIB, 1);
		ck_assert_int_lt(atomic_load(&tidep_numa_fault_in), 0);
		atomic_store(&tidep_numa_fault_in, 0);
		ck_assert_uint_eq(count_bind_failures(), 1 + (uint64_t)n);
	}
	tidep_numa_topo_unload();
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

START_TEST(pretended_nodes_are_never_bound)
{
	char *addr = tidep_numa_reserve(MIB, MIB);

	ck_assert_ptr_nonnull(addr);
	ck_assert_int_eq(tidep_numa_topo_load(4), 0);
	atomic_store(&tidep_numa_fault_asked, 0);
	atomic_store(&tidep_numa_fault_in, -1);
	tidep_numa_bind(addr, MIB, 3);
	/* Only the small pages were asked for. */
	ck_assert_uint_eq(atomic_load(&tidep_numa_fault_asked), 1);
	ck_assert_uint_eq(count_bind_failures(), 0);
	tidep_numa_topo_unload();
	tidep_numa_unreserve(addr, MIB);
}
END_TEST

int
main(void)
{
	return run_suite("numa_osmem", (const TTest *const[]){
					       the_page_is_the_kernels,
					       reserve_aligns_and_keeps_no_more,
					       absurd_reservations_are_refused,
					       exposed_reads_zero_and_takes_no_write,
					       opened_reads_zero_and_keeps_what_is_written,
					       decommitted_reads_zero_and_is_given_back,
					       a_decommit_that_is_refused_clears_and_is_counted,
					       locked_pages_are_cleared_and_counted,
					       populated_is_in_memory_and_unchanged,
					       each_call_can_be_refused,
					       the_address_limit,
					       bound_pages_stay_small,
					       a_binding_that_fails_is_counted,
					       pretended_nodes_are_never_bound,
					       NULL,
				       });
}
