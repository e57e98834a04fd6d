-- The consuming side of a pair of wrk processes: GETs from the channels that produce.lua fills.
-- How to run the two is said there.

method = "GET"
expected = string.rep(".", 100)

dofile(debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "channels.lua")
