-- Stands in front of every script. KEYS[1] is the beginning of every key of one
-- partition, its hash tag included; a script touches no other partition.
--
-- A script that writes checks everything first, and begins with a write that a
-- server without memory refuses: an error then means that nothing was changed.

local tag = KEYS[1]
local call = redis.call

-- A record is a header of fixed columns, the queue, a line feed, and JSON.
local header_most = 128 -- bytes that hold the header and the queue
local function token_of(record) return string.sub(record, 1, 16) end
local function status_of(record) return string.sub(record, 17, 17) end
local function ticket_of(record) return string.sub(record, 18, 33) end
local function queue_of(record) return string.sub(record, 50, string.find(record, '\n', 50, true) - 1) end

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

-- How many stand in a queue's route up to the end of that priority.
local function behind(queue)
  return call('ZLEXCOUNT', tag .. 'pending', '[' .. string.sub(queue, 1, -2), '[' .. queue .. '\255')
end

-- How many stand before a pending request in its route.
local function ahead_of(record, id)
  local queue = queue_of(record)
  return call('ZLEXCOUNT', tag .. 'pending', '[' .. string.sub(queue, 1, -2), '(' .. queue .. ticket_of(record) .. id)
end

-- Who publishes what is collected for the callback exchange, and until when the
-- lease runs, in microseconds.
local function publisher()
  local lease = call('GET', tag .. 'callback:lease')
  if not lease then
    return '', 0
  end
  return string.sub(lease, 17), tonumber(string.sub(lease, 1, 16))
end

-- What is collected stays for a week after the last gateway with a callback exchange.
local collected_ttl = 7 * 24 * 3600 * 1000
