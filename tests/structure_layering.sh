#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_layering.sh - rooms look upwards only (numa, then arena, then pool),
# and every internal include names its room; whoever uses the library includes
# <tide.h> and nothing of a room. White-box tests may go to their room and to
# those above it: tests/numa_*, tests/arena_*, and tests/pool_*, white_*, oom_*.
# What is linked is checked too: no room's objects need one below.

: "${srcdir:=.}"
status=0

# What a file may include with quotes, as an extended regular expression.
allowed_for()
{
	case $1 in
	numa/*) echo 'config\.h|numa/[a-z_]+\.h' ;;
	arena/*) echo 'config\.h|(numa|arena)/[a-z_]+\.h' ;;
	pool/*) echo 'config\.h|(numa|arena|pool)/[a-z_]+\.h' ;;
	tests/numa_*) echo 'config\.h|[a-z_]+\.h|numa/[a-z_]+\.h' ;;
	tests/arena_*) echo 'config\.h|[a-z_]+\.h|(numa|arena)/[a-z_]+\.h' ;;
	tests/pool_* | tests/white_* | tests/oom_*)
		echo 'config\.h|[a-z_]+\.h|(numa|arena|pool)/[a-z_]+\.h'
		;;
	*) echo "[a-z0-9_-]+\.h|${1%%/*}/[a-z0-9_-]+\.h" ;;
	esac
}

for room in numa arena pool examples tests bench; do
	for file in $(cd "$srcdir" && find "$room" -name '*.[ch]' 2>/dev/null | sort); do
		allowed=$(allowed_for "$file")
		found=$(sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$srcdir/$file" |
			grep -vxE "$allowed")
		if [ -n "$found" ]; then
			echo "$file may not include:" "$found"
			status=1
		fi
		case $file in
		numa/* | arena/* | pool/*)
			if grep -nE '#[ \t]*include[ \t]*<(tide\.h|numa/|arena/|pool/)' "$srcdir/$file"; then
				echo "$file: a room's header is included with its room, in quotes"
				status=1
			fi
			;;
		esac
	done
done

# needs ARCHIVE PATTERN: the archive's objects ask for nothing that matches.
needs()
{
	if [ ! -r "$1" ]; then
		echo "$1 is missing"
		status=1
		return
	fi
	found=$(nm -u "$1" 2>/dev/null | sed -n "s/^ *U \($2.*\)/\1/p" | sort -u)
	if [ -n "$found" ]; then
		echo "$1 looks down:" "$found"
		status=1
	fi
}

needs .libs/libnuma.a 'tide_\|tidep_arena_\|tidep_pool_'
needs .libs/libarena.a 'tide_\|tidep_pool_'
exit $status
