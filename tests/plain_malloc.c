/* SPDX-License-Identifier: MIT */
/*
 * A program that is linked with libtidepool.so keeps its own malloc. mimalloc's
 * shared library exports malloc too: linked into the program directly, by one
 * flag too many in tidepool.pc or libtidepool.la, it would take over.
 */
#include "config.h"

#include <tide.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
file_of(const char *name)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);
	Dl_info info;

	if (symbol == NULL || dladdr(symbol, &info) == 0)
		return "nowhere";
	return info.dli_fname;
}

int
main(void)
{
	static const char *const names[] = { "malloc",
					     "free",
					     "calloc",
					     "realloc",
					     "posix_memalign",
					     "aligned_alloc",
					     "malloc_usable_size" };
	const struct tide_pool_config config = {
		.config_bytes = sizeof(config),
		.name = "plain",
		.object_bytes = 100,
		.reset = tide_reset_zero,
	};
	int status = EXIT_SUCCESS;
	tide_pool *pool;

	if (strstr(file_of("tide_version"), "libtidepool") == NULL) {
		puts("skipped: tidepool is linked statically, and mimalloc with it");
		return 77;
	}
	pool = tide_pool_create(&config);
	if (pool == NULL)
		return EXIT_FAILURE;
	tide_put(pool, tide_get(pool));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *file = file_of(names[i]);

		if (strstr(file, "libc.so") != NULL)
			continue;
		printf("%s is %s's\n", names[i], file);
		status = EXIT_FAILURE;
	}
	if (tide_pool_destroy(pool) != 0)
		status = EXIT_FAILURE;
	return status;
}
