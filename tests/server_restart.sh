#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_restart.sh - SIGHUP replaces all of zstd-server's workers while it goes on
# answering: no request fails, no counter goes back, no object is lost.
# TIDE_SEED repeats a run.

# shellcheck disable=SC2317 # what only eventually calls

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need curl

seed=${TIDE_SEED:-$RANDOM}
echo "TIDE_SEED=$seed"
threads=3

# begin TEXT: opens a connection, fd, and sends what printf %b makes of it.
begin() {
	exec {fd}<>"/dev/tcp/127.0.0.1/$port" || give_up "cannot connect"
	printf '%b' "$1" >&"$fd"
}

# finish FD TEXT STATUS WHAT: sends that, too, and reads the answer until the end.
finish() {
	local line=

	printf '%b' "$2" >&"$1"
	timeout 20 cat <&"$1" >"$work/answer" || fail "$allocator: $4: not closed"
	read -r line <"$work/answer"
	[ "${line:9:3}" = "$3" ] || fail "$allocator: $4: answered ${line:-nothing}, not $3"
	fd=$1
	exec {fd}>&-
}

# in_flight N: so many connections that the server has accepted, and the asking one.
in_flight() {
	eventually metric_is zstd_server_connections $(($1 + 1)) || give_up "connections: not $1"
}

# restarted N: so many restarts have come to their end.
restarted() {
	eventually metric_is zstd_server_restarts_total "$1" || give_up "$allocator: restart $1 hangs"
}

# Ids of all of its threads, sorted.
thread_ids() {
	find "/proc/$pid/task" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort
}

# Samples of all counters, a second one begins where the first one ends.
watch_counters() {
	while sleep 0.05; do
		curl -s -m 30 "$url/metrics" | awk '$1 ~ /_total/' || break
	done >"$work/samples" 2>/dev/null
}

# sum_of N: the Nth word of what the clients said, added up.
sum_of() {
	awk -v n="$1" '{ sum += $n } END { print sum + 0 }' "$work"/load?
}

# Three restarts, and nobody notices.
goes_on_answering() {
	local before common n loads=() watcher

	start --threads=$threads --allocator="$allocator" --grace=20
	"tests/server_load" "$port" "$seed" 3 60 >"$work/load1" 2>"$work/said1" &
	loads+=($!)
	"tests/server_load" --keep "$port" "$((seed + 1))" 3 60 >"$work/load2" 2>"$work/said2" &
	loads+=($!)
	watch_counters &
	watcher=$!
	for n in 1 2 3; do
		before=$(thread_ids)
		sleep 0.2
		kill -HUP "$pid"
		restarted $n
		common=$(comm -12 <(echo "$before") <(thread_ids) | wc -l)
		[ "$common" -eq $(($(wc -l <<<"$before") - threads)) ] ||
			fail "$allocator: restart $n: $common threads of before are still there"
	done
	kill -TERM "${loads[@]}"
	for n in 0 1; do
		wait "${loads[n]}" || fail "$allocator: clients: $(cat "$work/load$((n + 1))" "$work/said$((n + 1))")"
	done
	kill "$watcher"
	wait "$watcher" 2>/dev/null
	metric_is zstd_server_workers_started_total $((4 * threads)) || fail "$allocator: started"
	metric_is zstd_server_workers $threads || fail "$allocator: workers: not $threads"
	# What was compressed is what was answered: to the byte, over 12 workers.
	metric_is zstd_server_body_bytes_total "$(sum_of 4)" ||
		fail "$allocator: compressed $(metric zstd_server_body_bytes_total) bytes, not $(sum_of 4)"
	[ "$(sum_of 2)" -gt 100 ] || fail "$allocator: only $(sum_of 2) requests"
	eventually metric_is zstd_server_connections 1 || fail "$allocator: connections stay"
	awk '$2 < last[$1] { print; bad = 1 } { last[$1] = $2 } END { exit bad || NR < 100 }' \
		"$work/samples" || fail "$allocator: a counter went back, or was not seen"
	[ "$allocator" = malloc ] ||
		metric_is 'tidepool_pool_live_objects{pool="zstd-contexts"}' 0 ||
		fail "contexts are live, but no request is"
	stop
}

# What a worker that leaves waits for, and what it does not: its requests, and a
# client's first one, but no second one.
waits_as_it_should() {
	local half fresh kept

	start --threads=1 --allocator="$allocator" --grace=3600
	begin 'GET /health/ready HTTP/1.1\r\nHo'
	half=$fd
	begin ''
	fresh=$fd
	begin 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n'
	kept=$fd
	in_flight 3
	kill -HUP "$pid"
	finish "$kept" '' 200 "a connection between two requests"
	in_flight 2
	metric_is zstd_server_workers 2 || fail "$allocator: nobody took the leaving one's place"
	# Remembered: who is new now will be replaced, too.
	kill -HUP "$pid"
	finish "$half" 'st: x\r\n\r\n' 200 "half a request"
	grep -qi '^connection: close' "$work/answer" || fail "$allocator: it does not say it closes"
	metric_is zstd_server_restarts_total 0 || fail "$allocator: it does not wait"
	finish "$fresh" 'GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n' 200 "a first request"
	restarted 1
	metric_is zstd_server_workers_started_total 3 || fail "$allocator: a SIGHUP was lost"
	stop
}

# One that never ends is dropped after --grace, and the restart goes on.
waits_no_longer() {
	start --threads=2 --allocator="$allocator" --grace=1
	begin 'POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello'
	in_flight 1
	kill -HUP "$pid"
	restarted 1
	timeout 20 cat <&"$fd" >"$work/answer" || fail "$allocator: half a request: not closed"
	[ ! -s "$work/answer" ] || fail "$allocator: half a request was answered"
	exec {fd}>&-
	stop
}

# stops_during_a_restart SIGNALS: the second signal does not wait.
stops_during_a_restart() {
	local half fresh

	start --threads=2 --allocator="$allocator" --grace=3600
	begin 'GET /health/live HTTP/1.1\r\nHo'
	half=$fd
	begin ''
	fresh=$fd
	in_flight 2
	kill -HUP "$pid"
	eventually metric_is zstd_server_workers 3 || fail "$allocator: it does not restart"
	kill -TERM "$pid"
	timeout 20 cat <&"$fresh" >"$work/answer" || fail "$allocator: a quiet connection stays"
	kill -HUP "$pid" # means nothing any more
	if [ "$1" -eq 1 ]; then
		finish "$half" 'st: x\r\n\r\n' 200 "half a request, and the end"
	else
		kill -TERM "$pid"
	fi
	ends_with 0
}

# Whatever is going on at that moment.
stops_under_load() {
	local load i

	start --threads=2 --allocator="$allocator" --grace=20
	"tests/server_load" "$port" "$seed" 4 60 >"$work/load1" 2>/dev/null &
	load=$!
	for ((i = 0; i < 5; i++)); do
		kill -HUP "$pid"
		sleep 0.05
	done
	stop
	kill -TERM "$load"
	wait "$load" # it cannot connect any more
}

for allocator in pool malloc; do
	goes_on_answering
	waits_as_it_should
	waits_no_longer
	stops_during_a_restart 1
	stops_during_a_restart 2
	stops_under_load
done
done_testing
