-- Stands in front of every script. KEYS[1] is the beginning of every key of one
-- partition, its hash tag included; a script touches no other partition.
--
-- A script that writes checks everything first, and begins with a write that a
-- server without memory refuses: an error then means that nothing was changed.
--
-- What stands here is made anew each time that a script runs, which is not for nothing: what only some need is in files of its own.

local tag = KEYS[1]
local call = redis.call

-- Numbers are microseconds or counters below 2^53, which a double holds exactly.
local function digits(n) return string.format('%d', n) end

-- The server's time in microseconds. Tests let it run ahead.
local function time(ahead)
  local t = call('TIME')
  return t[1] * 1000000 + t[2] + ahead
end

-- The next tick of the partition's clock: the time, but never the same twice.
local function tick(now)
  return math.max(now, (tonumber(call('GET', tag .. 'clock')) or 0) + 1)
end
