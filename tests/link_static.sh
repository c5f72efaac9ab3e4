#!/bin/sh
# SPDX-License-Identifier: MIT
#
# link_static.sh - libtidepool.a in a dynamic program. Built --without-mimalloc, it
# leaves the program its malloc. With mimalloc, libmimalloc.so comes before libc
# among the program's libraries, and so its malloc is the program's, all of it; with
# -lc before -lmimalloc the program keeps libc's. Either way the library works.
# Runs in the build directory.

: "${srcdir:=.}"
if grep -q '^TIDE_LDFLAGS = .*fsanitize' Makefile; then
	echo "skipped: a sanitizer has to have malloc itself"
	exit 77
fi
library=.libs/libtidepool.a
if [ ! -e $library ]; then
	echo "skipped: there is no static library in this build"
	exit 77
fi
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
status=0
unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG

variable()
{
	sed -n "s/^$1 = //p" Makefile | head -n 1
}

# program NAME WHOSE LIBRARY...: links with these, and malloc is to be WHOSE.
program()
{
	name=$dir/$1 whose=$2
	shift 2
	# shellcheck disable=SC2046,SC2086 # lists of words
	$(variable CC) $(variable CFLAGS) -I. "-I$srcdir" "-I$srcdir/pool" \
		"$srcdir/tests/plain_malloc.c" -o "$name" $library "$@" -lpthread || {
		echo "FAILED: ${name##*/} does not build"
		status=1
		return
	}
	"$name" "$whose" || {
		echo "FAILED: ${name##*/}, exit status $?"
		status=1
	}
}

# Not pkg-config --static: it would want hwloc's own libraries as archives.
hwloc=$(variable HWLOC_LIBS)
mimalloc=$(variable MIMALLOC_LIBS)
# shellcheck disable=SC2086 # lists of words
if [ -z "$mimalloc" ]; then
	program without-mimalloc libc.so $hwloc
else
	program mimalloc-first libmimalloc $hwloc $mimalloc
	program libc-first libc.so $hwloc -lc $mimalloc
fi
exit $status
