#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_stop.sh - SIGTERM ends zstd-server with status 0, no request that has
# begun is lost, and no connection that waits holds it up.

# shellcheck disable=SC2317 # what only eventually calls

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need curl zstd

# begin TEXT: opens a connection, fd, and sends what printf %b makes of it.
begin() {
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || give_up "cannot connect"
	printf '%b' "$1" >&"$fd"
}

# finish TEXT: sends that, too, and reads the answer until the server closes.
finish() {
	printf '%b' "$1" >&"$fd"
	timeout 20 cat <&"$fd" >"$work/answer" || fail "$allocator: $fd is not closed"
	exec {fd}>&-
}

answers_with() {
	local line=

	read -r line <"$work/answer"
	[ "${line:9:3}" = "$1" ] || fail "$allocator: $2: answered ${line:-nothing}, not $1"
}

listens_no_more() {
	! { : >"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null
}

# in_flight N: so many connections that the server has accepted.
in_flight() {
	# The one that asks, too.
	eventually metric_is zstd_server_connections $(($1 + 1)) || give_up "connections: not $1"
}

# Requests of which half is there are answered; what is merely open is closed.
finishes_requests() {
	local head body quiet ready

	start --threads=2 --allocator="$allocator" --grace=3600
	begin ''
	quiet=$fd
	begin 'GET /health/ready HTTP/1.1\r\nHo'
	ready=$fd
	begin 'POST /com'
	head=$fd
	begin 'POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello'
	body=$fd
	in_flight 4
	kill -TERM "$pid"
	eventually listens_no_more || fail "$allocator: it goes on listening"
	fd=$quiet
	timeout 20 cat <&"$fd" >"$work/answer" || fail "$allocator: a quiet connection stays"
	[ ! -s "$work/answer" ] || fail "$allocator: a quiet connection got an answer"
	exec {fd}>&-

	fd=$ready
	finish 'st: x\r\n\r\n'
	answers_with 503 "/health/ready while it stops"
	fd=$head
	finish 'press HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx'
	answers_with 200 "a request whose line was there"
	has_ended && fail "$allocator: it did not wait"
	fd=$body
	finish world
	answers_with 200 "a request whose headers were there"
	grep -qi '^connection: close' "$work/answer" || fail "$allocator: it does not say it closes"
	sed '1,/^\r$/d' "$work/answer" | zstd -dcq >"$work/body"
	[ "$(cat "$work/body")" = helloworld ] || fail "$allocator: the last answer is wrong"
	ends_with 0
}

# One that never comes to its end is dropped after --grace, or at a second signal.
waits_no_longer() {
	start --threads=2 --allocator="$allocator" --grace="$1"
	begin 'POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello'
	in_flight 1
	kill -TERM "$pid"
	if [ "$1" -gt 0 ]; then
		eventually listens_no_more || fail "$allocator: it goes on listening"
		! has_ended || fail "$allocator: it did not wait"
		kill "-$2" "$pid"
	fi
	ends_with 0
	finish ''
	[ ! -s "$work/answer" ] || fail "$allocator: half a request was answered"
}

# The only worker compresses. Meanwhile a request comes, and then the signal: both
# are found together, and the request has been sent before.
answers_what_has_arrived() {
	local busy status

	start --threads=1 --allocator="$allocator" --max-body=16MiB --grace=3600
	ask --data-binary "@$work/numbers" "$url/compress?level=19" >"$work/status" &
	busy=$!
	sleep 0.1
	begin 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n'
	kill -TERM "$pid"
	finish ''
	answers_with 200 "a request that came before the signal"
	wait "$busy"
	status=$(<"$work/status")
	[ "$status" = 200 ] || fail "$allocator: what it was busy with: $status"
	ends_with 0
}

# Whatever is going on at that moment, it ends well.
ends_under_load() {
	local clients=() client

	start --threads=2 --allocator="$allocator" --grace=5
	for client in 1 2 3 4; do
		while curl -s -m 20 -o "$work/body$client" --data-binary "@$work/text" \
			"$url/compress?level=1"; do
			zstd -dcq "$work/body$client" | cmp -s - "$work/text" || echo changed
		done >"$work/client$client" 2>&1 &
		clients+=($!)
	done
	sleep 0.3
	stop
	wait "${clients[@]}"
	cat "$work"/client? >"$work/answer"
	[ ! -s "$work/answer" ] || fail "$allocator: under load: $(head -n 3 "$work/answer")"
}

cat "$srcdir"/pool/*.[ch] >"$work/text"
awk 'BEGIN { srand(1); for (i = 0; i < 60000; i++) print rand() }' >"$work/numbers"
for allocator in pool malloc; do
	start --allocator=$allocator
	stop
	start --allocator=$allocator
	kill -INT "$pid"
	ends_with 0
	finishes_requests
	answers_what_has_arrived
	waits_no_longer 0
	waits_no_longer 3600 TERM
	waits_no_longer 3600 INT
	ends_under_load
done
done_testing
