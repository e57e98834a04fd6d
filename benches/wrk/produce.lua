-- The producers: POSTs of 100-byte bodies to 64 channels a thread. Run it together with consume.lua, with
-- the same number of threads and connections:
--
--   cargo build --release
--   target/release/httpipe --host 127.0.0.1 --port 3000 --threads 1 &
--   wrk -t1 -c64 -d10 --timeout 30 -s benches/wrk/consume.lua http://127.0.0.1:3000 &
--   wrk -t1 -c64 -d10 --timeout 30 -s benches/wrk/produce.lua http://127.0.0.1:3000
--   wait %2; kill %1
--
-- Both report their requests; each request of the producers is one body that arrived. Append `-- verify`
-- to check every reply (slower). After a socket error, a timeout or a status other than 2xx the exit code
-- is 1. For comparison, nginx with a static reply of 100 bytes:
-- wrk -t1 -c128 -d10 http://127.0.0.1:8080/

method = "POST"
headers = { ["Content-Type"] = "application/octet-stream" }
body = string.rep(".", 100)
expected = ""

dofile(debug.getinfo(1, "S").source:match("^@(.-)[^/]*$") .. "channels.lua")
