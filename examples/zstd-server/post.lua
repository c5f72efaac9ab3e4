-- SPDX-License-Identifier: MIT
-- post.lua - a script for wrk: posts a file, again and again, and prints one
-- line that a program can read:
--   result REQUESTS MICROSECONDS P50 P95 P99 ERRORS     (latencies in microseconds)
--
-- wrk -s post.lua http://127.0.0.1:8080/compress -- FILE

function init(args)
	local file = assert(io.open(args[1], "rb"))
	local body = file:read("*a")

	file:close()
	post = wrk.format("POST", nil, nil, body)
end

function request()
	return post
end

function done(summary, latency)
	local errors = summary.errors
	local total = errors.connect + errors.read + errors.write + errors.status + errors.timeout

	io.write(string.format("result %d %d %d %d %d %d\n", summary.requests, summary.duration,
		latency:percentile(50), latency:percentile(95), latency:percentile(99), total))
end
