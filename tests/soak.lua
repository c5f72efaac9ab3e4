-- SPDX-License-Identifier: MIT
-- soak.lua - a script for wrk: posts several files in turn, each at levels 1 and 2,
-- and prints `result REQUESTS`. For soak.sh.
--
-- In turn, and not one for a while and then the next: zstd gives a context smaller
-- memory once it has seen small bodies for long, and what that leaves of its memory
-- at the end would be a matter of chance.
--
-- wrk -s soak.lua http://127.0.0.1:8080 -- FILE...

local posts = {}
local n = 0

function init(args)
	for i, name in ipairs(args) do
		local file = assert(io.open(name, "rb"))
		local body = file:read("*a")

		file:close()
		for level = 1, 2 do
			posts[#posts + 1] = wrk.format("POST", "/compress?level=" .. level, nil, body)
		end
	end
end

function request()
	n = n % #posts + 1
	return posts[n]
end

function done(summary)
	io.write(string.format("result %d\n", summary.requests))
end
