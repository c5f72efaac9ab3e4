/* SPDX-License-Identifier: MIT */
/*
 * settings_case.c - starts tidepool with the settings of its environment and says
 * on stdout what came of it; settings.sh runs it, once for each case, since
 * settings are read once in a process.
 *
 *     settings_case          tide_init() and what the statistics say then
 *     settings_case create   the same, but the first call is a create
 *
 * Exit status: 0; 2, a setting was refused, as with all programs of ours; 3,
 * the library broke a promise.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tide.h>

static tide_pool *
create(void)
{
	return tide_pool_create(&(struct tide_pool_config){
		.config_bytes = sizeof(struct tide_pool_config),
		.name = "case",
		.object_bytes = 64,
		.reset = tide_reset_zero,
	});
}

/* What was refused stays refused, without another line. */
static int
refuse(void)
{
	setenv("TIDEGC", "100", 1);
	setenv("TIDEMEMLIMIT", "off", 1);
	setenv("TIDENUMA", "auto", 1);
	setenv("TIDEDEBUG", "", 1);
	if (tide_init() != -EINVAL || tide_init() != -EINVAL)
		return 3;
	errno = 0;
	if (create() != NULL || errno != EINVAL)
		return 3;
	return 2;
}

static int
show(void)
{
	struct tide_stats stats;
	tide_pool *pool;

	/* Read once: what comes later changes nothing. */
	setenv("TIDEGC", "ten", 1);
	setenv("TIDENUMA", "fake=64", 1);
	if (tide_init() != 0)
		return 3;
	tide_stats_read(&stats, sizeof(stats));
	printf("gc_percent=%" PRId64 " memory_limit=", stats.gc_percent);
	if (stats.memory_limit == INT64_MAX)
		printf("off");
	else
		printf("%" PRId64, stats.memory_limit);
	printf(" nodes=%" PRIu64 "\n", stats.nodes);
	pool = create();
	if (pool == NULL)
		return 3;
	tide_put(pool, tide_get(pool));
	return tide_pool_destroy(pool) == 0 && tide_check() == 0 ? 0 : 3;
}

int
main(int argc, char **argv)
{
	tide_pool *pool;
	int err;

	if (argc > 1 && strcmp(argv[1], "create") == 0) {
		errno = 0;
		pool = create();
		if (pool == NULL)
			return errno == EINVAL ? refuse() : 3;
		if (tide_pool_destroy(pool) != 0)
			return 3;
		return show();
	}
	err = tide_init();
	if (err == -EINVAL)
		return refuse();
	return err == 0 ? show() : 3;
}
