#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_exports.sh - what the shared library exports, what pool/tidepool.map
# lists and what tide.h declares are the same names; and every other name that
# is global among our objects begins with tidep_.

: "${srcdir:=.}"
status=0
config() { echo "@$1@" | ./config.status --file=-; }

tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT

# The header: declarations, without struct bodies, types and inline functions.
$(config CC) -E -P -x c "$srcdir/pool/tide.h" 2>"$tmp/errors" |
	grep -v '^#' | tr '\n' ' ' | sed 's/{[^{}]*}/ /g; s/{[^{}]*}/ /g' | tr ';' '\n' |
	grep -vE '^ *(typedef|static|struct [a-z_]+ *$)' |
	sed -n 's/^[^(]*\<\(tide_[a-z0-9_]*\) *(.*/\1/p
		t
		s/^.*extern .*\<\(tide_[a-z0-9_]*\) *$/\1/p' | sort >"$tmp/header"

sed -n '/global:/,/local:/s/^[ \t]*\([a-z_0-9]*\);.*/\1/p' "$srcdir/pool/tidepool.map" |
	sort >"$tmp/map"

for list in header map; do
	if [ ! -s "$tmp/$list" ]; then
		echo "no name found in the $list"
		cat "$tmp/errors"
		status=1
	fi
done
if ! diff "$tmp/map" "$tmp/header" >"$tmp/diff"; then
	echo "tidepool.map (<) and tide.h (>) differ:"
	cat "$tmp/diff"
	status=1
fi

for room in numa arena pool; do
	nm -g --defined-only ".libs/lib$room.a" 2>/dev/null |
		sed -n 's/^[0-9a-f]* [A-Z] \(.*\)/\1/p'
done | sort -u >"$tmp/global"
if ! grep -q '^tidep_' "$tmp/global"; then
	echo "no hidden name found"
	status=1
fi
# A sanitizer has names of its own, with two underscores.
grep -vE '^(tidep_|__)' "$tmp/global" | grep -vxFf "$tmp/map" >"$tmp/alien"
if [ -s "$tmp/alien" ]; then
	echo "global, not exported, and not named tidep_*:"
	cat "$tmp/alien"
	status=1
fi
bad=$(grep '^tidep_' "$tmp/global" | grep -vE '^tidep_(numa|arena|pool)_')
if [ -n "$bad" ]; then
	echo "hidden names without their room:" "$bad"
	status=1
fi

if [ ! -e .libs/libtidepool.so ]; then
	[ $status -eq 0 ] || exit $status
	echo "skipped: the exports, there is no shared library in this build"
	exit 77
fi
nm -D --defined-only .libs/libtidepool.so |
	sed -n 's/^[0-9a-f]* [B-Z] \([^@]*\).*/\1/p' | sort >"$tmp/exports"
if ! diff "$tmp/map" "$tmp/exports" >"$tmp/diff"; then
	echo "tidepool.map (<) and the library's exports (>) differ:"
	cat "$tmp/diff"
	status=1
fi
exit $status
