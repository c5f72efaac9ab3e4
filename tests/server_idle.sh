#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_idle.sh - zstd-server's sweep closes the connections whose clients are
# quiet for --idle-timeout, or only pretend to be busy, and no others; and what
# libuv calls for one that was closed finds a stale ref.

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need curl

timeout_s=2 # twenty times the pause of the one that is busy

# begin TEXT: opens a connection, fd, and sends what printf %b makes of it.
begin() {
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || give_up "cannot connect"
	printf '%b' "$1" >&"$fd"
}

# was_closed FD: and nothing came.
was_closed() {
	timeout 20 cat <&"$1" >"$work/answer" || fail "$allocator: connection $1 is still open"
	[ ! -s "$work/answer" ] || fail "$allocator: connection $1 got an answer"
}

idle_closes() {
	metric zstd_server_idle_closes_total
}

# Its client takes nothing in: a write is under way when the sweep closes it, and
# libuv reports that one after.
begin_to_take_nothing() {
	local get='GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n' i

	for ((i = 0; i < 11; i++)); do
		get=$get$get # 2048 of them, and more of an answer than sockets hold
	done
	begin "$get"
}

# quiet_ones_are_closed: five of them; the sixth is not.
quiet_ones_are_closed() {
	local quiet kept headers stalled deaf busy sent=0 rounds answer

	begin ''
	quiet=$fd
	begin 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n'
	kept=$fd
	begin 'POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello'
	stalled=$fd
	begin 'GET /health/live HTTP/1.1\r\n'
	headers=$fd
	begin_to_take_nothing
	deaf=$fd
	begin 'POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n'
	busy=$fd
	for ((rounds = 0; rounds < 200; rounds++)); do
		# More of a body is life; more and more of the headers is not.
		printf 'some of a body, ' >&"$busy"
		sent=$((sent + 16))
		{ printf 'X: y\r\n' >&"$headers"; } 2>/dev/null
		[ "$((rounds % 10))" -ne 9 ] || [ "$(idle_closes)" -lt 5 ] || break
		sleep 0.1
	done
	metric_is zstd_server_idle_closes_total 5 ||
		fail "$allocator: $(idle_closes) connections closed as idle, not 5"
	was_closed "$quiet"
	was_closed "$stalled"
	timeout 20 cat <&"$kept" >"$work/answer" || fail "$allocator: a kept connection is still open"
	grep -q '^live' "$work/answer" || fail "$allocator: a kept connection got no answer"
	timeout 20 cat <&"$headers" >"$work/answer" 2>/dev/null # reset, or closed
	[ $? -ne 124 ] || fail "$allocator: endless headers keep a connection open"

	# The busy one has been alive for longer than the timeout.
	head -c $((100000 - sent)) /dev/zero >&"$busy"
	IFS= read -r -t 20 answer <&"$busy"
	[ "${answer:9:3}" = 200 ] || fail "$allocator: a busy connection: ${answer:-closed}"
	for fd in $quiet $kept $stalled $headers $deaf $busy; do
		exec {fd}>&-
	done
}

for allocator in pool malloc; do
	start --threads=1 --allocator=$allocator --idle-timeout=$timeout_s
	quiet_ones_are_closed
	[ "$allocator" = malloc ] || metric_is zstd_server_stale_callbacks_total 1 ||
		fail "the late callback of a write found no stale ref"
	eventually metric_is zstd_server_connections 1 || fail "$allocator: connections stay"
	stop
done

# 0 is never: many sweeps of the above would have come by.
start --idle-timeout=0
begin ''
sleep 1
metric_is zstd_server_idle_closes_total 0 || fail "--idle-timeout=0 closes connections"
metric_is zstd_server_connections 2 || fail "--idle-timeout=0: a connection is gone"
stop
done_testing
