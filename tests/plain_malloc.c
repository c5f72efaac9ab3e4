/* SPDX-License-Identifier: MIT */
/*
 * A program that is linked with libtidepool.so keeps its own malloc. mimalloc's
 * shared library exports malloc too: linked into the program directly, by one
 * flag too many in tidepool.pc or libtidepool.la, it would take over.
 *
 *     plain_malloc [FILE]    malloc is to be FILE's, and not libc.so's
 *
 * With FILE it is what link_preload.sh and link_static.sh run.
 */
#include "config.h"

#include <stdio.h>

#include "tests/link.h"

int
main(int argc, char **argv)
{
	static const struct link_api api = LINK_API_DIRECT;
	const char *wanted = argc > 1 ? argv[1] : "libc.so";

	if (argc == 1 && strstr(link_file_of("tide_version"), "libtidepool") == NULL) {
		puts("skipped: tidepool is linked statically, and mimalloc with it");
		return 77;
	}
	stress_start(1, argv);
	if (!link_malloc_is(wanted))
		return EXIT_FAILURE;
	link_stress_run(&api);
	/* What the library loads later, hwloc's plugins for one, changes nothing. */
	return link_malloc_is(wanted) ? EXIT_SUCCESS : EXIT_FAILURE;
}
