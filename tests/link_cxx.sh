#!/bin/sh
# SPDX-License-Identifier: MIT
#
# link_cxx.sh - builds link_cxx.cc with each C++ compiler there is, with the shared
# library and with the static one, and runs it. Runs in the build directory.

: "${srcdir:=.}"
if grep -q '^TIDE_LDFLAGS = .*fsanitize' Makefile; then
	echo "skipped: a sanitizer's runtime would have to be in the program too"
	exit 77
fi
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
status=0
ran=0
unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG

variable()
{
	sed -n "s/^$1 = //p" Makefile | head -n 1
}
hwloc=$(variable HWLOC_LIBS)
mimalloc=$(variable MIMALLOC_LIBS)

fail()
{
	echo "FAILED: $*"
	status=1
}

# program COMPILER WHOSE LIBRARY...: malloc is to be WHOSE
program()
{
	compiler=$1 whose=$2
	shift 2
	ran=$((ran + 1))
	if ! "$compiler" -g "$dir/link_cxx.o" -o "$dir/program" "$@" -pthread; then
		fail "$compiler with $1: does not link"
	elif ! "$dir/program" "$whose"; then
		fail "$compiler with $1"
	fi
}

for compiler in g++ clang++; do
	command -v $compiler >/dev/null || continue
	$compiler -std=c++17 -pedantic -Wall -Wextra -Wshadow -Werror -O1 -g -pthread \
		"-I$srcdir/pool" "-I$srcdir/tests" -c "$srcdir/tests/link_cxx.cc" \
		-o "$dir/link_cxx.o" || {
		fail "$compiler does not compile link_cxx.cc"
		continue
	}
	if [ -e .libs/libtidepool.so ]; then
		program $compiler libc.so .libs/libtidepool.so "-Wl,-rpath,$PWD/.libs"
	fi
	[ -e .libs/libtidepool.a ] || continue
	# How to have another malloc with mimalloc is link_static.sh's.
	whose=libc.so
	[ -z "$mimalloc" ] || whose=libmimalloc
	# shellcheck disable=SC2086 # lists of words
	program $compiler $whose .libs/libtidepool.a $hwloc $mimalloc
done
if [ $ran -eq 0 ] && [ $status -eq 0 ]; then
	echo "skipped: no g++ or clang++"
	exit 77
fi
echo "$ran programs"
exit $status
