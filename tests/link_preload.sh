#!/bin/sh
# SPDX-License-Identifier: MIT
#
# link_preload.sh - under LD_PRELOAD of jemalloc, tcmalloc and mimalloc the library
# works, linked and by dlopen(), and the program's malloc is the preloaded one; of
# libmimalloc.so the library and the program then use one and the same copy.
# Runs in the build directory.

if grep -q '^TIDE_LDFLAGS = .*fsanitize' Makefile; then
	echo "skipped: a sanitizer has to have malloc itself"
	exit 77
fi
status=0
ran=
missing=
unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG

for library in libjemalloc.so.2 libtcmalloc_minimal.so.4 libmimalloc.so.2; do
	name=${library%%.so*}
	# The loader only warns of what it cannot find.
	if LD_PRELOAD=$library /bin/true 2>&1 | grep -q 'cannot be preloaded'; then
		missing="$missing $library"
		continue
	fi
	for program in tests/plain_malloc tests/link_dlopen; do
		# The program itself, not libtool's shell script.
		./libtool --mode=execute env LD_PRELOAD=$library $program "$name"
		case $? in
		0) ran="$ran $program:$name" ;;
		77) ;;
		*)
			echo "FAILED: $program with $library"
			status=1
			;;
		esac
	done
done
echo "ran:$ran"
[ $status -eq 0 ] || exit $status
if [ -n "$missing" ]; then
	echo "skipped: not installed:$missing (the others were run)"
	exit 77
fi
exit 0
