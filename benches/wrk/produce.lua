-- The producing side of a pair of wrk processes: POSTs bodies of 100 bytes to 64 channels a thread.
-- Run it together with consume.lua, with the same number of threads and connections on both:
--
--   cargo build --release
--   target/release/httpipe --host 127.0.0.1 --port 3000 --threads 1 &
--   wrk -t1 -c64 -d10 --timeout 30 -s benches/wrk/consume.lua http://127.0.0.1:3000 &
--   wrk -t1 -c64 -d10 --timeout 30 -s benches/wrk/produce.lua http://127.0.0.1:3000
--   wait %2; kill %1
--
-- Both report their requests; each of the producer's is one body that has arrived. Append
-- `-- verify` to a line to check every single reply (slower). A process that saw an error of a
-- socket, a timeout or a status that is not 2xx ends with exit code 1.
-- For comparison, nginx with a static reply of 100 bytes: wrk -t1 -c128 -d10 http://127.0.0.1:8080/

method = "POST"
headers = { ["Content-Type"] = "application/octet-stream" }
body = string.rep(".", 100)
expected = ""

dofile(debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "channels.lua")
