#!/bin/sh
# SPDX-License-Identifier: MIT
#
# valgrind_memcheck.sh - memcheck finds no error and no leak in the library as it is
# built, under some of its suites; and with its client requests (what
# --enable-valgrind compiles in, compiled here beside it) it reports who touches an
# object after its put, or behind its end, and where the object was put.
#
# Leaks are blocks that nothing points to. What is only pointed into, memcheck calls
# possibly lost: that is how records from mimalloc are aligned.

: "${srcdir:=.}"
config() { echo "@$1@" | ./config.status --file=-; }

skip()
{
	echo "skipped: $1"
	exit 77
}

valgrind=$(config VALGRIND)
[ -n "$valgrind" ] || skip "no valgrind"
case $(config TIDE_CFLAGS) in
*-fsanitize=*) skip "valgrind does not run what a sanitizer built" ;;
esac
[ -r /usr/include/valgrind/memcheck.h ] || skip "no valgrind/memcheck.h"
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
"$valgrind" --quiet true 2>"$dir/log" || skip "valgrind does not work here: $(tail -n 1 "$dir/log")"
status=0

# memcheck PROGRAM [ARGUMENT]: exit status 9 if it has anything to say.
memcheck()
{
	./libtool --quiet --mode=execute "$valgrind" --quiet --error-exitcode=9 --leak-check=full \
		--show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect \
		"$@" >"$dir/out" 2>"$dir/err" </dev/null
}

complain()
{
	echo "$1:"
	cat "$dir/out" "$dir/err"
	status=1
}

# Some compilers' debug information stops valgrind before the program starts.
memcheck tests/valgrind_put
! grep -q 'debuginfo reader' "$dir/err" || skip "valgrind cannot read this compiler's debug information"

for program in tests/valgrind_put tests/pool_hooks; do
	[ -x "$program" ] || continue
	if ! memcheck "$program" || grep -q '^==' "$dir/err"; then
		complain "$program under memcheck"
	fi
done

# The same library, with requests.
cc=$(config CC)
cflags=$(config TIDE_CFLAGS | sed 's/-Werror//')
# shellcheck disable=SC2046,SC2086 # lists of words
if ! $cc -DTIDEP_VALGRIND=1 -DHAVE_CONFIG_H -I. "-I$srcdir" "-I$srcdir/pool" $cflags -O1 -g -w \
	-pthread $(config HWLOC_CFLAGS) -o "$dir/put" "$srcdir/tests/valgrind_put.c" \
	"$srcdir"/numa/*.c "$srcdir"/arena/*.c "$srcdir"/pool/*.c \
	$(config LDFLAGS) $(config HWLOC_LIBS) $(config MIMALLOC_LIBS) $(config LIBS) \
	2>"$dir/err" >"$dir/out"; then
	complain "the library with requests does not build"
	exit 1
fi

# says WAY TEXT...: memcheck reports what valgrind_put does that way in these words.
says()
{
	way=$1
	shift
	if memcheck "$dir/put" "$way"; then
		complain "$way: nothing is reported"
		return
	fi
	for text in "$@"; do
		grep -q "$text" "$dir/err" || complain "$way: the report does not say '$text'"
	done
}

for settings in '' 'quarantine=7,verifyreset=1'; do
	if ! TIDENUMA=fake=2 TIDEDEBUG=$settings memcheck "$dir/put" well ||
		grep -q '^==' "$dir/err"; then
		complain "use as it should be, with requests, TIDEDEBUG=$settings"
	fi
done
inside="is 10 bytes inside a block of size 100 free'd"
says write 'Invalid write of size 1' "$inside" 'give_back' "Block was alloc'd at"
says read 'Invalid read of size 1' "$inside" 'give_back'
says behind 'Invalid write of size 1'
says neighbour 'Invalid read of size 1'
exit $status
