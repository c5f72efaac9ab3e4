#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_settings.sh - a bad argument and a malformed setting end zstd-server with
# status 2 and a line that names them; good ones do not.

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"

# run COMMAND...: its status; where it says nothing it may run on for ever.
run() {
	local status=0

	timeout 20 "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	echo "$status"
}

# refused NAME ARGUMENT...: status 2, and NAME is in the one or two lines it says.
refused() {
	local status

	status=$(run "$server" --port=0 "${@:2}")
	[ "$status" -eq 2 ] || fail "${*:2}: status $status, not 2"
	grep -qF -e "$1" "$work/err" || fail "${*:2}: says $(cat "$work/err")"
	[ "$(wc -l <"$work/err")" -le 2 ] || fail "${*:2}: says more than two lines"
	[ ! -s "$work/out" ] || fail "${*:2}: has started"
}

# malformed VARIABLE VALUE
malformed() {
	local status allocator

	for allocator in pool malloc; do
		status=$(run env "$1=$2" "$server" --port=0 --allocator=$allocator)
		[ "$status" -eq 2 ] || fail "$1=$2, $allocator: status $status, not 2"
		[[ $(<"$work/err") == *"$1"*"$2"* ]] ||
			fail "$1=$2, $allocator: says $(cat "$work/err")"
		[ "$(wc -l <"$work/err")" -eq 1 ] || fail "$1=$2, $allocator: says more than a line"
	done
}

unset TIDEGC TIDEMEMLIMIT TIDENUMA TIDEDEBUG

for value in '' -1 65536 80x x ' 80' 0x50 99999999999999999999; do
	refused --port "--port=$value"
done
for value in '' 0 1025 -1 2.5; do
	refused --threads "--threads=$value"
done
for value in '' 0 1K 1KB 2GiB 1025MiB -1 1.5MiB 17179869184GiB; do
	refused --max-body "--max-body=$value"
done
for value in '' 0 16383 x 18446744073709551615 17179869184GiB; do
	refused --max-io "--max-io=$value"
done
refused --max-io --max-io=1MiB --allocator=malloc
for value in '' -1 86401 1. .5 1.2345 86400.001 1s; do
	refused --idle-timeout "--idle-timeout=$value"
done
for value in '' -1 3601 1.5; do
	refused --grace "--grace=$value"
done
for value in '' Pool pools jemalloc; do
	refused --allocator "--allocator=$value"
done
for value in '' localhost 127.0.0 256.0.0.1 ::g; do
	refused --bind "--bind=$value"
done
refused unknown --unknown
refused threads --threads
refused stray stray

for value in ten '' -5 1% 100001 ' 100'; do
	malformed TIDEGC "$value"
done
malformed TIDEMEMLIMIT 1KB
malformed TIDENUMA fake
malformed TIDEDEBUG nosuchswitch=1

# And what is good is good.
for option in --threads=1 --max-body=1GiB --max-io=16KiB --idle-timeout=0.25 --idle-timeout=86400 \
	--grace=0 --allocator=malloc --bind=127.0.0.1; do
	start "$option"
	stop
done
TIDEGC=off TIDEMEMLIMIT=1GiB TIDENUMA=fake=3 TIDEDEBUG=verifyreset=1 start
stop
[ "$(run "$server" --help)" -eq 0 ] || fail "--help: not 0"
grep -q -e --allocator "$work/out" || fail "--help does not help"

# An address that is taken is no bad argument, but no success either.
start --threads=2
[ "$(run "$server" "--port=$port")" -eq 1 ] || fail "a port that is taken: not 1"
grep -qF "$port" "$work/err" || fail "a port that is taken: says $(cat "$work/err")"
: >"$work/err"
stop
done_testing
