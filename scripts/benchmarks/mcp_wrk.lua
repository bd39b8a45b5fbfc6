-- Calls of a tool for wrk: every request has an id of its own, every answer is looked at.
-- usage: wrk ... -s mcp_wrk.lua URL -- FIRST_ID BODY TEXT HEADER=VALUE...
-- In BODY the word "@ID@" stands for the id. TEXT must be in every answer.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  id, wrong = tonumber(args[1]), 0
  before, after = args[2]:match("^(.-)@ID@(.*)$")
  text = args[3]
  headers = {}
  for index = 4, #args do
    local name, value = args[index]:match("^(.-)=(.*)$")
    headers[name] = value
  end
end

function request()
  id = id + 1
  return wrk.format("POST", nil, headers, before .. id .. after)
end

function response(status, _, body)
  if status ~= 200 or not body:find(text, 1, true) then
    wrong = wrong + 1
    said = status .. " " .. body:sub(1, 200)
  end
end

function done(summary, latency)
  local wrong, said = 0, ""
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    said = thread:get("said") or said
  end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  if wrong + lost > 0 then
    print("BAD " .. wrong .. " wrong answers, " .. lost .. " lost; " .. said)
  end
  print(string.format("FIGURES %d %d %d %d", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99)))
end
