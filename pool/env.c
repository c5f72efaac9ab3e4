/* SPDX-License-Identifier: MIT */
/*
 * TIDEGC, TIDEMEMLIMIT, TIDENUMA and TIDEDEBUG: what they may be and what they
 * mean. Everything that is not exactly in the grammar is refused: a setting
 * that is misread in silence is found in the incident it causes.
 *
 * strtoll() and its kin are of no use here: they take signs, blanks and
 * prefixes that the grammar has not.
 *
 * A value that is set but empty is refused like any other bad value, except
 * for TIDEDEBUG: a list may have no elements.
 */
#include "config.h"

#include "pool/env.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define GC_PERCENT_MAX   100000
#define GC_PERCENT_UNSET 100
#define FAKE_NODES_MAX   64
#define LIMIT_SHARE_AUTO 90 /* the rest is for what is not tidepool's */

#define QUOTED_BYTES 48                                 /* of a value are shown */
#define SHOWN_BYTES  (4 * QUOTED_BYTES + sizeof("...")) /* each at worst as \xff */
#define AROUND_BYTES 192                                /* the words around the values */

static_assert(2 * SHOWN_BYTES + AROUND_BYTES <= TIDEP_COMPLAINT_BYTES,
	      "a complaint of two values fits");

/* Quotes whatever an environment may hold so that a terminal and a log survive it. */
static void
show_value(char shown[SHOWN_BYTES], const char *value, size_t len)
{
	size_t quoted = len < QUOTED_BYTES ? len : QUOTED_BYTES;

	for (size_t i = 0; i < quoted; i++) {
		unsigned char byte = (unsigned char)value[i];

		if (byte < ' ' || byte > '~') {
			shown += snprintf(shown, 5, "\\x%02x", byte);
		} else {
			if (byte == '"' || byte == '\\')
				*shown++ = '\\';
			*shown++ = (char)byte;
		}
	}
	strcpy(shown, quoted < len ? "..." : "");
}

struct complaint {
	char *dst;
	size_t dst_bytes;
};

static int
complain(const struct complaint *complaint, const char *variable, const char *value,
	 const char *why)
{
	char shown[SHOWN_BYTES];

	show_value(shown, value, strlen(value));
	snprintf(complaint->dst, complaint->dst_bytes, "tidepool: %s=\"%s\" is not accepted: %s",
		 variable, shown, why);
	return -EINVAL;
}

/* The first len bytes of text are digits, and the number they make is at most max. */
static bool
parse_number(const char *text, size_t len, uint64_t max, uint64_t *number)
{
	uint64_t sum = 0;

	if (len == 0 || strspn(text, "0123456789") < len)
		return false;
	for (size_t i = 0; i < len; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (digit > max || sum > (max - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	*number = sum;
	return true;
}

int
tidep_pool_env_bytes(const char *text, int64_t *bytes)
{
	static const struct {
		char name[4];
		unsigned shift;
	} units[] = { { "", 0 },     { "B", 0 },    { "KiB", 10 },
		      { "MiB", 20 }, { "GiB", 30 }, { "TiB", 40 } };
	size_t digits = strspn(text, "0123456789");
	uint64_t number;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(text + digits, units[i].name) != 0)
			continue;
		if (!parse_number(text, digits, INT64_MAX >> units[i].shift, &number))
			return -EINVAL;
		*bytes = (int64_t)(number << units[i].shift);
		return 0;
	}
	return -EINVAL;
}

static bool
parse_gc(struct tidep_env *env, const char *text)
{
	uint64_t percent;

	if (strcmp(text, "off") == 0) {
		env->gc_percent = -1;
		return true;
	}
	if (!parse_number(text, strlen(text), GC_PERCENT_MAX, &percent))
		return false;
	env->gc_percent = (int)percent;
	return true;
}

static bool
parse_memlimit(struct tidep_env *env, const char *text)
{
	size_t len = strlen(text);
	uint64_t share;

	if (strcmp(text, "off") == 0)
		return true;
	if (strcmp(text, "auto") == 0) {
		env->limit_share = LIMIT_SHARE_AUTO;
		return true;
	}
	if (len == 0 || text[len - 1] != '%')
		return tidep_pool_env_bytes(text, &env->memory_limit) == 0;
	if (!parse_number(text, len - 1, 100, &share) || share == 0)
		return false;
	env->limit_share = (unsigned)share;
	return true;
}

static bool
parse_numa(struct tidep_env *env, const char *text)
{
	static const char fake[] = "fake=";
	size_t fake_len = sizeof(fake) - 1;
	uint64_t nodes;

	if (strcmp(text, "auto") == 0)
		return true;
	if (strcmp(text, "off") == 0) {
		env->fake_nodes = 1;
		return true;
	}
	if (strncmp(text, fake, fake_len) != 0)
		return false;
	text += fake_len;
	if (!parse_number(text, strlen(text), FAKE_NODES_MAX, &nodes) || nodes == 0)
		return false;
	env->fake_nodes = (unsigned)nodes;
	return true;
}

#define QUARANTINE_MAX 1000000 /* 24 bytes each, in every pool */
#define NO_SWITCH                                                                                  \
	"is no switch; want gctrace=0|1, verifyreset=0|1 and quarantine=0..1000000, "              \
	"separated by commas"

/* One element of TIDEDEBUG; of several for one switch the last one counts. */
static bool
parse_switch(struct tidep_env *env, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals == NULL ? len : (size_t)(equals - text) + 1;
	uint64_t number;
	uint64_t max = 1;

	if (strncmp(text, "quarantine=", name_len) == 0)
		max = QUARANTINE_MAX;
	if (!parse_number(text + name_len, len - name_len, max, &number))
		return false;
	if (name_len == strlen("quarantine=") && max > 1)
		env->quarantine = (uint32_t)number;
	else if (name_len == strlen("gctrace=") && strncmp(text, "gctrace=", name_len) == 0)
		env->gctrace = number == 1;
	else if (name_len == strlen("verifyreset=") && strncmp(text, "verifyreset=", name_len) == 0)
		env->verifyreset = number == 1;
	else
		return false;
	return true;
}

/* Of a long list only the start is shown, so the complaint quotes the bad element as well. */
static int
parse_debug(struct tidep_env *env, const char *list, const struct complaint *complaint)
{
	const char *element = list;
	size_t len;

	if (list[0] == '\0')
		return 0;
	for (;; element += len + 1) {
		len = strcspn(element, ",");
		if (!parse_switch(env, element, len))
			break;
		if (element[len] == '\0')
			return 0;
	}

	char shown[SHOWN_BYTES];
	char why[SHOWN_BYTES + sizeof("\"\" " NO_SWITCH)];

	show_value(shown, element, len);
	snprintf(why, sizeof(why), "\"%s\" " NO_SWITCH, shown);
	return complain(complaint, "TIDEDEBUG", list, why);
}

int
tidep_pool_env_parse(struct tidep_env *env, const char *gc, const char *memlimit, const char *numa,
		     const char *debug, char *complaint, size_t complaint_bytes)
{
	const struct complaint to = { complaint, complaint_bytes };
	struct tidep_env parsed = { .gc_percent = GC_PERCENT_UNSET, .memory_limit = INT64_MAX };
	int err;

	if (gc && !parse_gc(&parsed, gc))
		return complain(&to, "TIDEGC", gc, "want a whole number from 0 to 100000, or off");
	if (memlimit && !parse_memlimit(&parsed, memlimit))
		return complain(
			&to, "TIDEMEMLIMIT", memlimit,
			"want bytes (1073741824, 512MiB; units B, KiB, MiB, GiB, TiB), a share "
			"from 1% to 100%, auto, or off");
	if (numa && !parse_numa(&parsed, numa))
		return complain(&to, "TIDENUMA", numa,
				"want auto, off, or fake=N with N from 1 to 64");
	if (debug) {
		err = parse_debug(&parsed, debug, &to);
		if (err)
			return err;
	}
	*env = parsed;
	return 0;
}
