-- What produce.lua and consume.lua share: which channels there are, in which order they are used,
-- and what counts as an error at the end.
--
-- wrk does not say which of its connections asks for a request, so request number k of a thread
-- simply goes to channel number k modulo their count. Both processes count alike, therefore neither
-- can wait for the other forever: whichever has asked less often finds a counterpart for every
-- request that it has out. That holds for any number of connections, but only if both processes
-- have the same number of threads, because each thread has channels of its own.

local channels_per_thread = 64

-- Called once for each thread, before it starts.
local threads = {}
function setup(thread)
  thread:set("id", #threads)
  threads[#threads + 1] = thread
end

-- Called in each thread. `requests` is filled here, so that making one costs a look into a table.
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

-- Only with the argument "verify": it makes wrk hand every reply to Lua, which costs it a lot.
function verify(status, _, received)
  if status ~= 200 or received ~= expected then wrong = wrong + 1 end
end

-- Called once, at the end. Requests still in flight are no errors: wrk does not count them, and
-- whichever process ends first leaves the other one waiting with some.
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
