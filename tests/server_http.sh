#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# server_http.sh - what zstd-server answers, to good requests and to bad ones,
# with its objects from pools and from malloc.

# shellcheck source=tests/server_lib.sh
. "${srcdir:=.}/tests/server_lib.sh"
need curl zstd

limit=1000000

# expect STATUS WHAT CURL-ARGUMENT...
expect() {
	local status

	status=$(ask "${@:3}")
	[ "$status" = "$1" ] || fail "$allocator: $2: answered $status, not $1"
}

# expect_raw STATUS WHAT TEXT: and closes, without a reset.
expect_raw() {
	local line=

	raw "$3" || fail "$allocator: $2: not answered and closed ($?)"
	read -r line <"$work/answer"
	[ "${line:9:3}" = "$1" ] || fail "$allocator: $2: answered ${line:-nothing}, not $1"
	grep -qi '^connection: close' "$work/answer" || fail "$allocator: $2: does not say it closes"
}

# has_header NAME VALUE: the last answer has it.
has_header() {
	tr -d '\r' <"$work/head" | grep -qix "$1: $2" ||
		fail "$allocator: no $1: $2 in: $(cat "$work/head")"
}

make_files() {
	seq 1 400000 >"$work/numbers"
	# What zstd made hardly gets shorter a second time.
	awk 'BEGIN { srand(1); for (i = 0; i < 120000; i++) print rand() }' |
		zstd -qc >"$work/noise"
	: >"$work/empty"
	printf x >"$work/one"
	cat "$srcdir"/pool/*.[ch] >"$work/text"
	# A block has room for 16368 bytes.
	head -c 16367 "$work/numbers" >"$work/below"
	head -c 16368 "$work/numbers" >"$work/block"
	head -c 16369 "$work/numbers" >"$work/above"
	head -c 200000 "$work/noise" >"$work/random"
	head -c 80000 "$work/noise" >"$work/some"
	head -c $limit "$work/numbers" >"$work/most"
	head -c $((limit + 1)) "$work/numbers" >"$work/too-much"
	[ "$(stat -c %s "$work/random")" -eq 200000 ] || give_up "too little noise"
}

# comes_back FILE LEVEL CURL-ARGUMENT...
comes_back() {
	local file=$work/$1

	expect 200 "$1 at level $2" "${@:3}" --data-binary "@$file" "$url/compress?level=$2"
	zstd -dcq <"$work/body" | cmp -s - "$file" ||
		fail "$allocator: $1 at level $2 came back changed"
}

frames() {
	local file level

	for file in empty one below block above random most; do
		for level in 1 3 19; do
			comes_back "$file" "$level"
		done
		comes_back "$file" 3 -H 'Transfer-Encoding: chunked'
	done
	comes_back block 22
	has_header Content-Type application/zstd
	has_header Content-Length "$(stat -c %s "$work/body")"
	expect 200 "no level" --data-binary "@$work/above" "$url/compress"
	cp "$work/body" "$work/default"
	comes_back above 3
	cmp -s "$work/body" "$work/default" || fail "$allocator: level 3 is not the default"
	comes_back text 3
	cp "$work/body" "$work/default"
	comes_back text 19
	[ "$(stat -c %s "$work/body")" -lt "$(stat -c %s "$work/default")" ] ||
		fail "$allocator: level 19 is not better than 3"
}

statuses() {
	local long

	expect 200 live "$url/health/live"
	expect 200 ready "$url/health/ready"
	expect 200 metrics "$url/metrics"
	expect 404 "an unknown resource" "$url/compressed"
	expect 404 "no resource" "$url/"
	expect 405 "GET of /compress" "$url/compress"
	has_header Allow POST
	expect 405 "POST of /metrics" -d x "$url/metrics"
	has_header Allow 'GET, HEAD'
	expect 405 "DELETE" -X DELETE "$url/health/live"
	expect 411 "no length" -X POST "$url/compress"
	expect 413 "too long a body" --data-binary "@$work/too-much" "$url/compress"
	has_header Connection close
	expect 413 "too long a body in chunks" --data-binary "@$work/too-much" \
		-H 'Transfer-Encoding: chunked' "$url/compress"
	expect 417 "an expectation" -d x -H 'Expect: the-unexpected' "$url/compress"
	expect 501 "a transfer encoding" -d x -H 'Transfer-Encoding: gzip, chunked' "$url/compress"

	long=$(printf '%300s' '' | tr ' ' a)
	expect 414 "a long target" "$url/$long"
	long=$(printf '%100000s' '' | tr ' ' a)
	expect_raw 431 "long headers" "GET /metrics HTTP/1.1\r\nHost: x\r\nX: $long\r\n\r\n"
	for level in 0 23 100000000000000000000 -1 +1 1x x '' '3&level=4' '3%20'; do
		expect 400 "level=$level" -d x "$url/compress?level=$level"
	done
	expect 400 "a misspelt parameter" -d x "$url/compress?levle=3"
	expect 200 "an empty query" -d x "$url/compress?"
}

broken_requests() {
	expect_raw 400 garbage '\0026\003\001\002\0000\001\0000\001\0374\003\003\r\n\r\n'
	expect_raw 400 "no HTTP" 'hello\r\n\r\n'
	expect_raw 400 "an HTTP/2 preface" 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
	expect_raw 505 "another version" 'GET /health/live HTTP/2.0\r\nHost: x\r\n\r\n'
	expect_raw 400 "no Host" 'GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n'
	expect_raw 400 "two Hosts" \
		'GET /health/live HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close\r\n\r\n'
	expect_raw 400 "a target that is none" 'GET compress HTTP/1.1\r\nHost: x\r\n\r\n'
	expect_raw 400 "a NUL in a header" 'GET /metrics HTTP/1.1\r\nHost: x\0000\r\n\r\n'
	expect_raw 400 "a header that begins with a NUL" \
		'GET /metrics HTTP/1.1\r\nHost: \0000x\r\n\r\n'
}

# What one server takes for the end of a request and the next one does not.
length_tricks() {
	local post='POST /compress HTTP/1.1\r\nHost: x\r\n'
	local chunked="${post}Transfer-Encoding: chunked\r\n"

	expect_raw 400 "two lengths" "${post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
	expect_raw 400 "length and chunked" "${chunked}Content-Length: 3\r\n\r\n0\r\n\r\n"
	expect_raw 400 "chunked and length" \
		"${post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	expect_raw 400 "a length that is no number" "${post}Content-Length: 1x\r\n\r\na"
	expect_raw 400 "a negative length" "${post}Content-Length: -1\r\n\r\na"
	expect_raw 400 "a length beyond 2^64" "${post}Content-Length: 18446744073709551617\r\n\r\na"
	expect_raw 413 "a length below 2^64" "${post}Content-Length: 18446744073709550000\r\n\r\na"
	expect_raw 400 "a chunk without a size" "$chunked\r\nxyz\r\n"
	expect_raw 400 "a chunk beyond 2^64" "$chunked\r\n11111111111111111\r\n"
	expect_raw 400 "a space before the colon" "${post}Content-Length : 1\r\n\r\na"
}

# answers_are STATUS...: the last raw answer has these, in this order.
answers_are() {
	local found

	found=$(grep -a '^HTTP/1.1 ' "$work/answer" | cut -d ' ' -f 2 | tr '\n' ' ')
	[ "$found" = "${*:+$* }" ] || fail "$allocator: answers $found, not $*"
}

# connects_are N CURL-ARGUMENT...: curl makes so many connections for its requests.
connects_are() {
	local n

	n=$(curl -sS -m 30 -w '%{num_connects}\n' "${@:2}" | awk '{ n += $1 } END { print n }')
	[ "$n" = "$1" ] || fail "$allocator: $n connections, not $1, for ${*:2}"
}

keep_alive() {
	local get='GET /health/live HTTP/1.1\r\nHost: x\r\n'
	local out=(-o "$work/body" -o "$work/body" -o "$work/body")

	connects_are 1 "${out[@]}" "$url/health/live" "$url/metrics" "$url/health/ready"
	connects_are 1 "${out[@]}" --data-binary "@$work/above" \
		"$url/compress" "$url/compress?level=0" "$url/compress?level=9"
	connects_are 1 "${out[@]}" -H 'Transfer-Encoding: chunked' --data-binary "@$work/random" \
		"$url/none" "$url/compress" "$url/none"
	connects_are 3 "${out[@]}" -H 'Connection: close' \
		"$url/health/live" "$url/metrics" "$url/health/ready"
	connects_are 3 -0 "${out[@]}" "$url/health/live" "$url/metrics" "$url/health/ready"
	connects_are 1 -0 -H 'Connection: keep-alive' "${out[@]}" \
		"$url/health/live" "$url/metrics" "$url/health/ready"
	expect 200 "keep-alive in 1.0" -0 -H 'Connection: keep-alive' "$url/health/live"
	has_header Connection keep-alive

	raw "$get\r\n\r\n\r\n${get}\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n${get}Connection: close\r\n\r\n" ||
		fail "$allocator: requests in one go: $?"
	answers_are 200 200 404 200
	# After an error that makes the rest unreadable there is no more answer.
	raw "$get\r\n\001\r\n\r\n$get\r\n" || fail "$allocator: garbage in between: $?"
	answers_are 200 400
}

head_requests() {
	local length

	expect 200 "GET" "$url/health/live"
	length=$(stat -c %s "$work/body")
	expect 200 HEAD -I "$url/health/live"
	has_header Content-Length "$length"
	expect 200 HEAD -I "$url/metrics"
	raw 'HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\nHEAD / HTTP/1.1\r\nHost: x\r\n\r\n\001\r\n\r\n' ||
		fail "$allocator: HEADs in one go: $?"
	answers_are 200 404 400
	! grep -q '^# HELP\|no such' "$work/answer" || fail "$allocator: a HEAD is answered with a body"
	# The last one is no HEAD: its body must be there.
	[ "$(tr -d '\r' <"$work/answer" | sed '1,/^HTTP.* 400/d; 1,/^$/d' | wc -l)" -eq 1 ] ||
		fail "$allocator: a 400 after a HEAD has no body"
}

continues() {
	expect 200 "Expect: 100-continue" -H 'Expect: 100-continue' \
		--expect100-timeout 25 --data-binary "@$work/above" "$url/compress"
	grep -q '^HTTP/1.1 100 ' "$work/head" || fail "$allocator: no 100 Continue"
	expect 413 "Expect with too much" -H 'Expect: 100-continue' \
		--expect100-timeout 25 --data-binary "@$work/too-much" "$url/compress"
	! grep -q '^HTTP/1.1 100 ' "$work/head" || fail "$allocator: 100 before a 413"
	expect 400 "Expect with a bad level" -H 'Expect: 100-continue' \
		--expect100-timeout 25 --data-binary "@$work/above" "$url/compress?level=x"
	! grep -q '^HTTP/1.1 100 ' "$work/head" || fail "$allocator: 100 before a 400"
}

half_closed() {
	local post='POST /compress HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n'

	raw --half "${post}hello" || fail "$allocator: a half-closed client: $?"
	answers_are 200
	sed '1,/^\r$/d' "$work/answer" | zstd -dcq | grep -qx hello ||
		fail "$allocator: a half-closed client got another body"
	raw --half "${post}hell" || fail "$allocator: half a request: $?"
	answers_are
}

# The counters know of all that was answered, and nothing is left behind.
numbers() {
	local live

	metric_is 'zstd_server_replies_total{code="414"}' 1 || fail "$allocator: 414 is not counted"
	metric_is 'zstd_server_replies_total{code="other"}' 0 || fail "$allocator: an unlisted status"
	metric_is 'zstd_server_replies_total{code="500"}' 0 || fail "$allocator: a 500"
	metric_is zstd_server_refused_connections_total 0 || fail "$allocator: refused connections"
	# The one that asks is still there.
	eventually metric_is zstd_server_connections 1 || fail "$allocator: connections stay"
	if [ "$allocator" = pool ]; then
		live=$(metric 'tidepool_pool_live_objects{pool="connections"}')
		[ "$live" = 1 ] || fail "$live live connections, not 1"
		live=$(metric 'tidepool_pool_live_objects{pool="zstd-contexts"}')
		[ "$live" = 0 ] || fail "$live live contexts"
	fi
	if ! command -v promtool >/dev/null; then
		echo "$allocator: /metrics was NOT checked: there is no promtool"
		return
	fi
	curl -sS -m 30 "$url/metrics" | promtool check metrics >"$work/promtool" 2>&1 ||
		fail "$allocator: promtool: $(cat "$work/promtool")"
	[ ! -s "$work/promtool" ] || fail "$allocator: promtool: $(cat "$work/promtool")"
}

# Without room for its blocks a request is refused, and the next one is not.
no_memory() {
	allocator=pool
	start --threads=1 --max-io=128KiB
	expect 503 "a body beyond --max-io" --data-binary "@$work/random" "$url/compress"
	has_header Retry-After 1
	comes_back above 3
	expect 503 "a body beyond --max-io" --data-binary "@$work/random" "$url/compress"
	comes_back above 3
	# Here it is the frame that does not fit: zstd is stopped in the middle.
	expect 503 "a frame beyond --max-io" --data-binary "@$work/some" "$url/compress?level=1"
	[ "$(tr -d '\0' <"$work/body")" = "no memory for the answer" ] || fail "a 503 with part of a frame"
	comes_back above 9
	stop
}

make_files
for allocator in pool malloc; do
	start --threads=2 --allocator=$allocator --max-body=$limit
	frames
	statuses
	broken_requests
	length_tricks
	keep_alive
	head_requests
	continues
	half_closed
	numbers
	stop
done
no_memory
done_testing
