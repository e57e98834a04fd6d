-- The consumers: GETs from the channels that produce.lua sends to, which also says how to run both.

method = "GET"
expected = string.rep(".", 100)

dofile(debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "channels.lua")
