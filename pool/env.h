/* SPDX-License-Identifier: MIT */
/*
 * The settings an operator gives in the environment, parsed and checked. Pure
 * functions of their arguments: they read no environment and print nothing.
 */
#ifndef TIDEP_POOL_ENV_H
#define TIDEP_POOL_ENV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tidep_env {
	int gc_percent;       /* TIDEGC: 0 .. 100000; -1 = off */
	int64_t memory_limit; /* TIDEMEMLIMIT: bytes; INT64_MAX = off, or a share is given */
	unsigned limit_share; /* TIDEMEMLIMIT=85%: 85; auto: 90; 0 = off, or bytes are given */
	unsigned fake_nodes;  /* TIDENUMA: 0 = as the machine is, 1 = off, N = fake=N */
	bool gctrace;         /* TIDEDEBUG=gctrace=1 */
	bool verifyreset;     /* TIDEDEBUG=verifyreset=1 */
	uint32_t quarantine;  /* TIDEDEBUG=quarantine=N; 0 = off */
};

#define TIDEP_COMPLAINT_BYTES 640 /* room for every complaint and its NUL */

/*
 * Parses the four values (NULL = unset) into *env and returns 0; or returns
 * -EINVAL with one line, without a newline, in complaint[]: the variable, the
 * value and what is accepted. The line is printable ASCII whatever the value
 * is; of several bad values it names the first in the order of the parameters.
 * *env is changed by success only, complaint[] by failure only.
 */
int tidep_pool_env_parse(struct tidep_env *env, const char *gc, const char *memlimit,
			 const char *numa, const char *debug, char *complaint,
			 size_t complaint_bytes);

/* The byte grammar of Go's GOMEMLIMIT. 0 or -EINVAL. */
int tidep_pool_env_bytes(const char *text, int64_t *bytes);

#endif
