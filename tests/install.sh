#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install.sh - what `make install` leaves is what a user needs, and no more: the
# header, the library, tidepool.pc; with them, C11 and C++17 programs build and
# run, shared and (without mimalloc) static, and keep their own malloc. Exported are
# exactly the names of pool/tidepool.map, which are those that tide.h declares.
# Runs in the build directory.

: "${srcdir:=.}"
if grep -q '^TIDE_LDFLAGS = .*fsanitize' Makefile; then
	echo "skipped: a sanitizer's runtime would have to be in the programs too"
	exit 77
fi
if ! command -v pkg-config >/dev/null; then
	echo "skipped: no pkg-config"
	exit 77
fi
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
status=0
unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG

fail()
{
	echo "FAILED: $*"
	status=1
}

variable()
{
	sed -n "s/^$1 = //p" Makefile | head -n 1
}

# The parent's flags are for its own jobs.
make_quietly()
{
	MAKEFLAGS='' MFLAGS='' "${MAKE:-make}" -s "$@" >"$dir/make.log" 2>&1
}

# shellcheck disable=SC2016
if [ "$(variable libdir)" != '${exec_prefix}/lib' ]; then
	echo "skipped: libdir is not the usual one"
	exit 77
fi
CC=$(variable CC)
prefix=$(variable prefix)
root=$dir/root
lib=$root$prefix/lib
include=$root$prefix/include

make_quietly install DESTDIR="$root" || {
	cat "$dir/make.log"
	exit 1
}

# What is installed.
find "$root" ! -type d | sed "s|^$root$prefix/||" | LC_ALL=C sort >"$dir/files"
shared=no static=no
[ -e "$lib/libtidepool.so" ] && shared=yes
[ -e "$lib/libtidepool.a" ] && static=yes
{
	echo include/tide.h
	[ "$static" = yes ] && echo lib/libtidepool.a
	echo lib/libtidepool.la
	[ "$shared" = yes ] && printf 'lib/libtidepool.so%s\n' '' .0 .0.0.0
	echo lib/pkgconfig/tidepool.pc
} >"$dir/wanted"
diff "$dir/wanted" "$dir/files" || fail "other files are installed than should be"
cmp "$srcdir/pool/tide.h" "$include/tide.h" || fail "tide.h differs"

# The header alone is clean in C and C++.
# header COMPILER STANDARD LANGUAGE
header()
{
	command -v "${1%% *}" >/dev/null || return 0
	# shellcheck disable=SC2086 # CC may be a compiler and its options
	echo '#include <tide.h>' | $1 "-std=$2" -pedantic-errors -Wall -Wextra -Wconversion -Wshadow \
		-Wundef -Werror -I"$include" -fsyntax-only -x "$3" - ||
		fail "tide.h does not compile: $1 -std=$2"
}
for compiler in "$CC" gcc clang; do
	header "$compiler" c11 c
	header "$compiler" gnu17 c
done
for compiler in g++ clang++; do
	for standard in c++11 c++17 c++20; do
		header "$compiler" "$standard" c++
	done
done

cat >"$dir/program.c" <<'END'
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tide.h>

static int
visit(void *obj, tide_ref ref, void *arg)
{
	(void)obj;
	*(tide_ref *)arg = ref;
	return 0;
}

int
main(void)
{
	struct tide_pool_config config;
	void *(*allocate)(size_t) = malloc;
	tide_ref ref, seen = 0;
	tide_pool *pool;
	void *address, *obj;
	Dl_info info;

	memset(&config, 0, sizeof(config));
	config.config_bytes = sizeof(config);
	config.name = "installed";
	config.object_bytes = 100;
	config.reset = tide_reset_wipe;
	if (tide_version() != TIDE_VERSION || tide_init() != 0)
		return 3;
	pool = tide_pool_create(&config);
	obj = pool != NULL ? tide_get_ref(pool, &ref) : NULL;
	if (obj == NULL || tide_pool_each(pool, visit, &seen) != 1 || seen != ref)
		return 4;
	tide_put(pool, obj);
	if (tide_ref_is_live(pool, ref) || tide_check() != 0 || tide_pool_destroy(pool) != 0)
		return 5;
	memcpy(&address, &allocate, sizeof(address));
	if (dladdr(address, &info) == 0)
		return 6;
	puts(info.dli_fname);
	return 0;
}
END
cp "$dir/program.c" "$dir/program.cc"

# pkg NAME...: what pkg-config says of the copy that is installed here
pkg()
{
	PKG_CONFIG_PATH="$lib/pkgconfig" pkg-config --define-variable=prefix="$root$prefix" "$@" \
		tidepool
}
pkg --exists || fail "tidepool.pc is not good"
[ "$(pkg --modversion)" = "$(variable VERSION)" ] || fail "tidepool.pc is of another version"
if pkg --libs | grep -qE 'mimalloc|hwloc'; then
	fail "users would link what is private: $(pkg --libs)"
fi
if pkg --cflags | grep -q hwloc; then
	fail "users would need hwloc's headers: $(pkg --cflags)"
fi

# build PROGRAM COMPILER STANDARD SOURCE LIBRARIES
build()
{
	program=$dir/$1 compiler=$2 standard=$3 source=$dir/$4
	shift 4
	# shellcheck disable=SC2046,SC2086 # they are lists of options
	$compiler "-std=$standard" -Wall -Wextra -pedantic -Werror $(pkg --cflags) "$source" \
		-o "$program" "$@" || {
		fail "$program does not build"
		return 1
	}
}

# run PROGRAM: it works, and its malloc is libc's
run()
{
	LD_LIBRARY_PATH="$lib" "$dir/$1" >"$dir/stdout" || fail "$1: exit status $?"
	grep -q '/libc\.so' "$dir/stdout" || fail "$1: malloc is from $(cat "$dir/stdout")"
}

if [ "$shared" = yes ]; then
	# shellcheck disable=SC2046
	build c-shared "$CC" c11 program.c $(pkg --libs) && run c-shared
	if command -v c++ >/dev/null; then
		# shellcheck disable=SC2046
		build c++-shared c++ c++17 program.cc $(pkg --libs) && run c++-shared
	fi
	if command -v readelf >/dev/null; then
		readelf -d "$dir/c-shared" >"$dir/dynamic"
		grep -q 'NEEDED.*libtidepool\.so\.0' "$dir/dynamic" || fail "no soname libtidepool.so.0"
		if grep -qE 'NEEDED.*(mimalloc|hwloc)' "$dir/dynamic"; then
			fail "a program needs what is private"
		fi
		readelf -d "$lib/libtidepool.so" | grep -q 'FLAGS_1.*NODELETE' ||
			fail "the library can be unloaded under its threads"
	fi
else
	echo "no shared library: not tested"
fi

if [ "$static" = yes ] && [ -z "$(variable MIMALLOC_LIBS)" ]; then
	# Not pkg-config --static: it would want hwloc's own libraries as archives.
	libraries="$(pkg-config --libs hwloc) -lpthread"
	# shellcheck disable=SC2086
	build c-static "$CC" c11 program.c "$lib/libtidepool.a" $libraries && run c-static
	if command -v c++ >/dev/null; then
		# shellcheck disable=SC2086
		build c++-static c++ c++17 program.cc "$lib/libtidepool.a" $libraries &&
			run c++-static
	fi
else
	echo "the static library is tested in a build --without-mimalloc"
fi

# Exports, the map, the header: one list.
sed -n 's/^[[:space:]]*\(tide_[a-z0-9_]*\);.*/\1/p' "$srcdir/pool/tidepool.map" |
	LC_ALL=C sort >"$dir/map"
# shellcheck disable=SC2086
$CC -E -P -I"$include" "$include/tide.h" | tr '\n' ' ' | sed 's/{[^}]*}//g' | tr ';' '\n' |
	grep -v '^ *typedef' | sed -nE -e 's/.*[ *](tide_[a-z0-9_]+) *\(.*/\1/p' \
	-e 's/^ *extern +tide_[a-z]+_fn +(tide_[a-z0-9_]+)$/\1/p' | LC_ALL=C sort >"$dir/header"
[ "$(wc -l <"$dir/header")" -gt 20 ] || fail "tide.h was not understood"
diff "$dir/map" "$dir/header" || fail "tidepool.map and tide.h differ"
if [ "$shared" = yes ]; then
	nm -D --defined-only "$lib/libtidepool.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' |
		LC_ALL=C sort >"$dir/exports"
	diff "$dir/map" "$dir/exports" || fail "tidepool.map and the exports differ"
fi
# Nothing that the static library has could be taken for a name of the user's.
if [ "$static" = yes ]; then
	nm -g --defined-only "$lib/libtidepool.a" 2>/dev/null | awk 'NF == 3 { print $3 }' |
		grep -vE '^tidep?_' >"$dir/strange"
	[ ! -s "$dir/strange" ] || fail "names without our prefix: $(cat "$dir/strange")"
fi

make_quietly uninstall DESTDIR="$root" || fail "uninstall: $(cat "$dir/make.log")"
left=$(find "$root" ! -type d)
[ -z "$left" ] || fail "uninstall leaves $left"
exit "$status"
