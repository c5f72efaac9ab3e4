#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_abuse.sh - zstd-server among clients that break off, reset, send garbage
# or take nothing in: it loses no connection and no object, goes on answering
# others, and stops in the middle of it all. Worth most in a sanitizer's build.
# TIDE_SEED repeats a run.

# shellcheck disable=SC2317 # what only eventually calls

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need curl zstd

seed=${TIDE_SEED:-$RANDOM}
echo "TIDE_SEED=$seed"

# Each of these may itself be closed as idle where the machine is busy: eventually.
good_request() {
	[ "$(ask --data-binary "@$srcdir/pool/tide.h" "$url/compress" 2>/dev/null)" = 200 ] &&
		zstd -dcq "$work/body" | cmp -s - "$srcdir/pool/tide.h"
}

somebody_was_idle() {
	local n

	n=$(metric zstd_server_idle_closes_total)
	[ "${n:-0}" -gt 0 ]
}

# What is put back with fewer bytes to clear than were written is found, and aborts.
export TIDEDEBUG=verifyreset=1
for allocator in pool malloc; do
	# With so short a timeout it sweeps a hundred times a second.
	start --threads=3 --allocator=$allocator --max-body=300000 --idle-timeout=0.04 --grace=1
	tests/server_abuse "$port" "$seed" 40 || fail "$allocator: the clients failed"
	eventually good_request || fail "$allocator: no good answer after it"
	eventually metric_is zstd_server_connections 1 || fail "$allocator: connections stay"
	eventually metric_is 'zstd_server_replies_total{code="500"}' 0 || fail "$allocator: a 500"
	eventually somebody_was_idle || fail "$allocator: nobody was idle"

	tests/server_abuse "$port" "$((seed + 1))" 20 &
	clients=$!
	sleep 0.3
	stop
	wait "$clients"
done
done_testing
