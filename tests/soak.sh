#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# soak.sh - zstd-server for half an hour among all kinds of clients at once, its
# workers replaced every minute. No crash, no failed request, no leak: its memory
# afterwards is within 5 % of what it was after the first minute, in the same quiet
# state. For `make soak`; not part of make check.
#
#   SOAK_MINUTES=30   for so long, 2 at least
#   SOAK_RESTART_S=60 between two SIGHUPs, after the first minute
#   SOAK_CSV=FILE     where the series and the summary go (soak.csv)
#   TIDE_SEED         repeats what the clients do
#
# The clients: wrk on kept connections; server_load, a connection a request, which
# checks every answer; server_abuse, which breaks off, sends garbage, half closes, is
# slow or quiet. The server has two pretended nodes, and no keeper: nothing turns
# tides but what the workers do themselves.

# shellcheck disable=SC2317 # what only eventually calls, and the trap

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need awk curl wrk

minutes=${SOAK_MINUTES:-30}
restart_s=${SOAK_RESTART_S:-60}
csv=${SOAK_CSV:-soak.csv}
seed=${TIDE_SEED:-$RANDOM}
threads=$(nproc)
sample_s=10
arguments=(--threads="$threads" --idle-timeout=3 --grace=5 --max-body=300000)
pools=(connections io-blocks zstd-contexts)
groups=() # of the clients' loops
hups=0
quiet_rss= # of the last quiet state
quiet_fds=
quiet_threads=

unset TIDEGC TIDEMEMLIMIT TIDEDEBUG
export TIDENUMA=fake=2

if ! [[ $minutes =~ ^[1-9][0-9]{0,3}$ ]] || [ "$minutes" -lt 2 ]; then
	echo "soak: SOAK_MINUTES=$minutes: expected a number from 2 to 9999"
	exit 2
fi
if ! [[ $restart_s =~ ^[1-9][0-9]{0,3}$ ]]; then
	echo "soak: SOAK_RESTART_S=$restart_s: expected a number from 1 to 9999"
	exit 2
fi

stop_clients() {
	local group

	for group in "${groups[@]}"; do
		kill -KILL -- "-$group" 2>/dev/null
	done
	groups=()
}
trap 'stop_clients; end; rm -f "$csv.part"' EXIT

say() {
	printf 'soak: %3d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}

# in_group COMMAND...: in the background, with all it starts in a group of its own.
in_group() {
	set -m
	"$@" </dev/null >>"$work/clients" 2>&1 &
	groups+=($!)
	set +m
}

is_running() {
	kill -0 "$pid" 2>/dev/null || give_up "the server is gone"
}

# value NAME: of the metrics that read_metrics has read last.
value() {
	awk -v name="$1" '$1 == name { print $2; found = 1 } END { if (!found) print "-" }' \
		"$work/metrics"
}

has_metrics() {
	is_running
	curl -sS --fail -m 20 -o "$work/metrics" "$url/metrics" 2>/dev/null
}

read_metrics() {
	eventually has_metrics || give_up "no metrics"
}

status_of() {
	sed -n "s/^$1:[^0-9]*\([0-9]*\).*/\1/p" "/proc/$pid/status"
}

open_fds() {
	find "/proc/$pid/fd" -mindepth 1 -maxdepth 1 | wc -l
}

# sample PHASE: a line of the series.
sample() {
	local line pool what

	read_metrics
	line=$SECONDS,$1,$(status_of VmRSS),$(status_of Threads),$(open_fds)
	line+=,$(value zstd_server_connections),$(value zstd_server_workers_started_total)
	line+=,$(value 'zstd_server_replies_total{code="200"}')
	for pool in "${pools[@]}"; do
		for what in live_objects idle_objects created_objects_total; do
			line+=,$(value "tidepool_pool_$what{pool=\"$pool\"}")
		done
	done
	echo "$line" >>"$csv.part"
}

# describe: the first lines of the result: how it came about, what the columns are.
describe() {
	local cpu commit compiler pool

	cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
	commit=$(git -C "$srcdir" describe --always --dirty --abbrev=12 2>/dev/null)
	compiler=$(readelf -p .comment "/proc/$pid/exe" 2>/dev/null |
		sed -n 's/^ *\[ *[0-9a-f]*\] *//p' | head -n 1)
	printf '# make soak SOAK_MINUTES=%s TIDE_SEED=%s; commit %s; ' "$minutes" "$seed" \
		"${commit:-unknown}"
	printf '%s x %s; %s; ' "$(nproc)" "${cpu:-unknown cpu}" "$(uname -srm)"
	printf '%s; libuv %s; zstd %s; wrk %s; ' "${compiler:-unknown compiler}" \
		"$(pkg-config --modversion libuv 2>/dev/null)" \
		"$(pkg-config --modversion libzstd 2>/dev/null)" \
		"$(wrk -v 2>&1 | awk 'NR == 1 { print $2 }')"
	printf 'TIDENUMA=%s zstd-server --port=0 %s\n' "$TIDENUMA" "${arguments[*]}"
	printf 'seconds,phase,rss_kib,threads,fds,connections,workers_started,replies_200'
	for pool in "${pools[@]}"; do
		printf ',%s_live,%s_idle,%s_created' "$pool" "$pool" "$pool"
	done
	echo
}

# The clients' loops: each until a time, in seconds since the start.

wrk_loop() {
	local left

	for ((left = $1 - SECONDS; left > 0; left = $1 - SECONDS)); do
		wrk -t 1 -c "$2" -d $((left < 10 ? left : 10))s -s "$srcdir/tests/soak.lua" \
			"$url" -- "$work"/file?
	done >>"$work/wrk" 2>&1
}

load_loop() {
	local left=$(($1 - SECONDS))

	tests/server_load "$port" "$2" 4 "$left" >>"$work/load" 2>>"$work/load-failures" ||
		[ -s "$work/load-failures" ] || echo "server_load ended badly" >>"$work/load-failures"
}

abuse_loop() {
	local n=0

	while ((SECONDS < $1)); do
		tests/server_abuse "$port" $(($2 + n)) 25 || break
		n=$((n + 1))
		echo 200 >>"$work/abuse" # connections: 8 threads
	done
}

are_done() {
	local group

	for group in "${groups[@]}"; do
		! kill -0 "$group" 2>/dev/null || return 1
	done
}

# The last SIGHUP has been seen to: the server would make one of it and the next.
has_restarted() {
	has_metrics && [ "$(value zstd_server_restarts_total)" = "$hups" ]
}

# load SECONDS EVERY CONNECTIONS: all clients, wrk with so many connections, and a
# SIGHUP every so many seconds, or later if the last one takes longer.
load() {
	local began=$SECONDS until=$((SECONDS + $1)) next_sample=$SECONDS next_hup

	next_hup=$((began + ($2 + 1) / 2))
	in_group wrk_loop "$until" "$3"
	in_group load_loop "$until" $((seed + began))
	in_group abuse_loop "$until" $((seed + 100000 + 1000 * began))
	while [ $SECONDS -lt $until ]; do
		is_running
		if [ $SECONDS -ge $next_sample ]; then
			sample load
			next_sample=$((next_sample + sample_s))
		fi
		if [ $SECONDS -ge $next_hup ] && has_restarted; then
			kill -HUP "$pid"
			hups=$((hups + 1))
			next_hup=$((SECONDS + $2))
			say "$((SECONDS - began)) of $1 s of load: $(status_of VmRSS) KiB," \
				"$(value 'zstd_server_replies_total{code="200"}') replies, SIGHUP $hups"
		fi
		sleep 1
	done
	eventually are_done || {
		fail "the clients do not end"
		stop_clients
	}
	groups=()
}

is_quiet() {
	has_metrics &&
		[ "$(value zstd_server_connections)" = 1 ] &&
		[ "$(value zstd_server_restarts_total)" = "$hups" ] &&
		[ "$(value zstd_server_workers)" = "$threads" ]
}

# quiesce: no client, no connection, no restart; answers are good. Sets quiet_*.
quiesce() {
	local live

	tests/server_load "$port" "$seed" 2 2 >>"$work/load" 2>>"$work/load-failures" ||
		fail "wrong answers after the load"
	eventually is_quiet || fail "it does not come to rest: connections $(value zstd_server_connections)," \
		"restarts $(value zstd_server_restarts_total) of $hups, workers $(value zstd_server_workers)"
	sleep 1
	sample quiet
	live="$(value 'tidepool_pool_live_objects{pool="connections"}')"
	live+=" $(value 'tidepool_pool_live_objects{pool="io-blocks"}')"
	live+=" $(value 'tidepool_pool_live_objects{pool="zstd-contexts"}')"
	# Those who ask are there: one connection, perhaps a block.
	[[ $live =~ ^1\ [01]\ 0$ ]] || fail "live objects at rest: $live"
	quiet_rss=$(status_of VmRSS)
	quiet_fds=$(open_fds)
	quiet_threads=$(status_of Threads)
	say "quiet: $quiet_rss KiB, $quiet_fds fds, $quiet_threads threads"
}

# wrk_sum PATTERN: adds up the number that follows it, over all of wrk's reports.
wrk_sum() {
	awk -v pattern="$1" '{ at = index($0, pattern) }
		at { sum += substr($0, at + length(pattern)) + 0 } END { print sum + 0 }' "$work/wrk"
}

# load_sum N: the Nth word of what server_load said, added up.
load_sum() {
	awk -v n="$1" '{ sum += $n } END { print sum + 0 }' "$work/load"
}

# must_be NAME VALUE: of the server's counters, at the end.
must_be() {
	[ "$(value "$1")" = "$2" ] || fail "$1 is $(value "$1"), not $2"
}

judge() {
	local connect bad

	connect=$(wrk_sum 'Socket errors: connect ')
	bad=$(wrk_sum 'Non-2xx or 3xx responses: ')
	[ "$connect" -eq 0 ] || fail "wrk could not connect $connect times"
	[ "$bad" -eq 0 ] || fail "wrk got $bad answers other than 200"
	[ "$(wrk_sum 'result ')" -gt 0 ] || fail "wrk did nothing: $(tail -n 3 "$work/wrk")"
	[ ! -s "$work/load-failures" ] ||
		fail "$(load_sum 8) requests failed: $(head -n 3 "$work/load-failures")"
	[ "$(load_sum 2)" -gt 0 ] || fail "server_load did nothing"
	[ -s "$work/abuse" ] || fail "server_abuse did nothing"
	must_be zstd_server_workers_started_total $((threads * (1 + hups)))
	must_be 'zstd_server_replies_total{code="500"}' 0
	must_be 'zstd_server_replies_total{code="503"}' 0
	must_be zstd_server_refused_connections_total 0
	must_be tidepool_misuses_total 0
	[ "$(value zstd_server_idle_closes_total)" -gt 0 ] || fail "nobody was closed as idle"
	[ "$quiet_fds" -eq "$first_fds" ] || fail "$quiet_fds fds, and $first_fds after a minute"
	[ "$quiet_threads" -eq "$first_threads" ] || fail "$quiet_threads threads, not $first_threads"
	# A sanitizer keeps what was freed, for a while and up to a limit.
	[ -n "$sanitized" ] || [ $((100 * quiet_rss)) -le $((105 * first_rss)) ] ||
		fail "memory grew by more than 5 %: $first_rss KiB to $quiet_rss KiB"
}

summary() {
	local codes

	codes=$(awk '/^zstd_server_replies_total/ && $2 > 0 {
			split($1, parts, "\""); printf " %s: %s", parts[2], $2 }' "$work/metrics")
	cat <<-END
		wrk: $(awk '$1 == "result" { sum += $2 } END { print sum + 0 }' "$work/wrk") requests, kept connections; $(wrk_sum ', read ') reads and $(wrk_sum ', write ') writes failed on connections that were closed, $(wrk_sum ', timeout ') timeouts
		server_load: $(load_sum 2) answers checked, a connection each; $(load_sum 8) failed
		server_abuse: $(awk '{ sum += $1 } END { print sum }' "$work/abuse") connections
		server: $(value zstd_server_connections_total) connections, $(value zstd_server_idle_closes_total) closed as idle, $(value zstd_server_stale_callbacks_total) stale callbacks; replies:$codes
		restarts: $(value zstd_server_restarts_total), $(value zstd_server_workers_started_total) workers started
		quiet after the first minute: $first_rss KiB, $first_fds fds, $first_threads threads
		quiet after $minutes minutes: $quiet_rss KiB ($(awk "BEGIN { printf \"%+.2f\", 100 * ($quiet_rss / $first_rss - 1) }") %), $quiet_fds fds, $quiet_threads threads
	END
}

echo "soak: $minutes minutes, TIDE_SEED=$seed; series in $csv"
head -c 1000 "$srcdir/pool/tide.h" >"$work/file0"
cp "$srcdir/pool/tide.h" "$work/file1"
awk 'BEGIN { srand(1); for (i = 0; i < 22000; i++) print rand() }' >"$work/file2"
: >"$work/abuse"
start "${arguments[@]}"
sanitized=$(grep -aoE -m 1 '__(asan|tsan|ubsan)_[a-z_]*' "/proc/$pid/exe" | head -n 1)
describe >"$csv.part" || give_up "cannot write $csv"
# Pools keep what their peak needed, so the first minute is the worst: half as many
# connections again, and restarts in a row. What grows after it is no new peak.
load 60 5 96
quiesce
first_rss=$quiet_rss
first_fds=$quiet_fds
first_threads=$quiet_threads
load $((60 * (minutes - 1))) "$restart_s" 64
quiesce
judge
stop # status 0: no object was lost
{
	summary
	if [ "$failures" -eq 0 ]; then
		echo "soak: passed"
	else
		echo "soak: failed"
	fi
} >"$work/summary"
sed 's/^/# /' "$work/summary" >>"$csv.part"
mv "$csv.part" "$csv"
cat "$work/summary"
done_testing
