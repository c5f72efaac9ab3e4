#!/bin/sh
# SPDX-License-Identifier: MIT
#
# structure_headers.sh - each internal header compiles alone and twice; tide.h
# does so in strict C11 and in strict C++17 too.

: "${srcdir:=.}"
status=0
config() { echo "@$1@" | ./config.status --file=-; }

cc=$(config CC)
cflags=$(config TIDE_CFLAGS)
hwloc=$(config HWLOC_CFLAGS)
headers=$(cd "$srcdir" && ls numa/*.h arena/*.h pool/*.h)

# compile WHAT COMPILER FLAG... : what is on standard input
compile()
{
	what=$1
	shift
	if ! "$@" -fsyntax-only - >headers.log 2>&1; then
		echo "$what:"
		cat headers.log
		status=1
	fi
	rm -f headers.log
}

for header in $headers; do
	# shellcheck disable=SC2086 # lists of words
	printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
		compile "$header alone" $cc $cflags $hwloc -Werror -I. "-I$srcdir" -x c
done
if [ -z "$headers" ]; then
	echo "no header found"
	status=1
fi

use='#include <tide.h>
#include <tide.h>
int use(void);
int use(void) { return tide_version() == TIDE_VERSION; }'
for compiler in $cc gcc clang; do
	command -v "$compiler" >/dev/null || continue
	echo "$use" | compile "tide.h in C11, $compiler" "$compiler" -std=c11 -pedantic-errors \
		-Wall -Wextra -Wconversion -Werror "-I$srcdir/pool" -x c
done
cxx=0
for compiler in g++ clang++; do
	command -v "$compiler" >/dev/null || continue
	cxx=$((cxx + 1))
	echo "$use" | compile "tide.h in C++17, $compiler" "$compiler" -std=c++17 \
		-pedantic-errors -Wall -Wextra -Werror "-I$srcdir/pool" -x c++
done
[ $cxx -gt 0 ] || echo "not checked: C++17, there is no g++ or clang++"
exit $status
