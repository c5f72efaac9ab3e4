#!/bin/sh
# SPDX-License-Identifier: MIT
# What a hit costs, in instructions under callgrind:
#   - a get executes no locked instruction, a put one, and neither calls anything,
#     so that a pair takes no lock and no system call;
#   - tide_put_ref is at most 10 instructions dearer than tide_put;
#   - tide_pin and tide_unpin execute at most two locked ones, tide_ref_is_live none,
#     and no lock is taken;
#   - get, put and the pair are no dearer than in bench/baseline.callgrind.txt,
#     which holds for the build it was made with; `make callgrind-baseline` makes it.
set -u

srcdir=${srcdir:-.}
baseline=$srcdir/bench/baseline.callgrind.txt
export srcdir
counts=$(VALGRIND=${VALGRIND:-valgrind} sh "$srcdir/bench/callgrind.sh" counts)
status=$?
[ $status -eq 0 ] || exit $status
echo "$counts"
failed=0

# value NAME COLUMN [TABLE]: 2 instructions, 3 locked, 4 calls
value() {
	echo "${3:-$counts}" | awk -v name="$1" -v column="$2" '$1 == name { print $column }'
}

# at_most WHAT VALUE LIMIT
at_most() {
	if [ -z "$2" ] || [ -z "$3" ]; then
		echo "FAIL: $1: a figure is missing"
		failed=1
	elif ! awk -v value="$2" -v limit="$3" 'BEGIN { exit !(value <= limit) }'; then
		echo "FAIL: $1: $2, at most $3"
		failed=1
	fi
}

# calls_no_lock NAME: what an operation calls must be nothing that may wait
calls_nothing() {
	if [ "$(value "$1" 4)" != - ]; then
		echo "FAIL: $1 calls $(value "$1" 4)"
		failed=1
	fi
}

calls_no_lock() {
	case $(value "$1" 4) in
	*lock* | *mutex* | *futex* | *syscall*)
		echo "FAIL: $1 calls $(value "$1" 4)"
		failed=1
		;;
	esac
}

at_most 'locked instructions of get' "$(value get 3)" 0
at_most 'locked instructions of put' "$(value put 3)" 1
calls_nothing get
calls_nothing put
at_most 'instructions of put_ref, against put' "$(value put_ref 2)" \
	"$(value put 2 | awk '{ print $1 + 10 }')"
at_most 'locked instructions of pin+unpin' "$(value pin+unpin 3)" 2
at_most 'locked instructions of ref_is_live' "$(value ref_is_live 3)" 0
for operation in pin unpin ref_is_live put_ref; do
	calls_no_lock "$operation"
done

# Only builds by the same compiler with the same flags can be compared.
kept=$(cat "$baseline")
if [ "$(echo "$counts" | grep '^# build:')" = "$(echo "$kept" | grep '^# build:')" ]; then
	for operation in get put get+put; do
		at_most "instructions of $operation, against the baseline" \
			"$(value "$operation" 2)" "$(value "$operation" 2 "$kept")"
	done
	exit $failed
fi
[ $failed -eq 0 ] || exit 1
echo "the baseline is of another $(echo "$kept" | grep '^# build:' | cut -c3-); not compared"
exit 77
