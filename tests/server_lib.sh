# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# server_lib.sh - what the server's tests share: it runs, it is asked, it ends.
# To be sourced; runs in the build directory. Everything is on 127.0.0.1, on a
# port that the system picks.

set -u
: "${srcdir:=.}"
server=examples/zstd-server/zstd-server
client=tests/server_client
work=$(mktemp -d)
pid=
failures=0

end() {
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
	rm -rf "$work"
}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
trap '' PIPE # the server may close what we write to: the test says what it thinks of it

# need TOOL...: without it nothing can be tested.
need() {
	local tool

	for tool in "$@"; do
		if ! command -v "$tool" >/dev/null; then
			echo "skipped: there is no $tool"
			exit 77
		fi
	done
}

# fail WHAT...: says so; the test goes on.
fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# give_up WHAT...: the rest makes no sense.
give_up() {
	fail "$@"
	[ ! -s "$work/err" ] || sed 's/^/server: /' "$work/err"
	exit 1
}

# done_testing: the last line of a test.
done_testing() {
	[ "$failures" -eq 0 ] || exit 1
	exit 0
}

# eventually COMMAND...: until it succeeds, for 20 seconds.
eventually() {
	local tries

	for ((tries = 0; tries < 400; tries++)); do
		"$@" && return 0
		sleep 0.05
	done
	return 1
}

has_started() {
	url=$(sed -n 's|^zstd-server: listening on ||p' "$work/out")
	port=${url##*:}
	[ -n "$url" ]
}

# start ARGUMENT...: sets pid, url and port.
start() {
	: >"$work/out"
	"$server" --port=0 "$@" >"$work/out" 2>"$work/err" &
	pid=$!
	eventually has_started || give_up "the server did not start: $*"
}

has_ended() {
	! kill -0 "$pid" 2>/dev/null
}

# ends_with STATUS: it ends by itself, having said nothing on stderr.
ends_with() {
	local status=0

	eventually has_ended || give_up "the server does not end"
	wait "$pid" || status=$?
	pid=
	[ "$status" -eq "$1" ] || fail "the server ended with status $status, not $1"
	[ ! -s "$work/err" ] || fail "the server said: $(cat "$work/err")"
}

# stop: as an operator does. Status 0 says that no object was lost.
stop() {
	kill -TERM "$pid"
	ends_with 0
}

# ask CURL-ARGUMENT...: prints the status; head and body are in files.
ask() {
	: >"$work/body"
	curl -sS -m 30 -o "$work/body" -D "$work/head" -w '%{http_code}' "$@"
}

# raw [--half] TEXT: sends it as printf %b makes it; the answer is in $work/answer.
# Returns 0 if the server answered and closed.
raw() {
	local half=()

	if [ "$1" = --half ]; then
		half=("$1")
		shift
	fi
	printf '%b' "$1" | "$client" "${half[@]}" "$port" >"$work/answer"
}

# metric NAME: its value, or nothing.
metric() {
	curl -s -m 30 "$url/metrics" | awk -v name="$1" '$1 == name { print $2 }'
}

# metric_is NAME VALUE
metric_is() {
	[ "$(metric "$1")" = "$2" ]
}
