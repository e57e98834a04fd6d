-- Shared by produce.lua and consume.lua: the channels, the order of their use, and what counts as an
-- error.
--
-- wrk does not tell which connection a request is for, so request k of a thread uses channel k modulo the
-- number of channels. Both processes count the same way, so neither waits for ever: the process that has
-- sent fewer requests has a counterpart for each of its requests in flight. This holds for any number of
-- connections, but both processes need the same number of threads, because each thread has its own
-- channels.

local channels_per_thread = 64

-- wrk calls this once per thread, before the thread starts.
local threads = {}
function setup(thread)
  thread:set("id", #threads)
  threads[#threads + 1] = thread
end

-- wrk calls this in each thread. All requests are formatted here, so that each one costs a table lookup.
function init(args)
  requests, turn, wrong = {}, 0, 0
  for channel = 1, channels_per_thread do
    local path = string.format("/channels/wrk/%d-%d", id, channel)
    requests[channel] = wrk.format(method, path, headers, body)
  end
  if args[1] == "verify" then response = verify end
end

function request()
  turn = turn % channels_per_thread + 1
  return requests[turn]
end

-- Only with the argument "verify": wrk then passes every reply to Lua, which is slow.
function verify(status, _, received)
  if status ~= 200 or received ~= expected then wrong = wrong + 1 end
end

-- wrk calls this once, at the end. Requests in flight are no errors: wrk does not count them, and the
-- process that ends first leaves some of the other's without a counterpart.
function done(summary)
  local errors = summary.errors
  local total = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  for _, thread in ipairs(threads) do total = total + thread:get("wrong") end
  io.write(string.format("%s: %d requests, %d errors\n", method, summary.requests, total))
  if total > 0 then
    io.write(string.format("connect %d, read %d, write %d, status %d, timeout %d\n",
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
    os.exit(1)
  end
end
