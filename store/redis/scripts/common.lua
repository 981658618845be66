-- Stands in front of every script. KEYS[1] is the beginning of every key of one
-- partition, its hash tag included; a script touches no other partition.
--
-- A script that writes checks everything first, and begins with a write that a
-- server without memory refuses: an error then means that nothing was changed.

local tag = KEYS[1]
local call = redis.call

-- A record is a header of fixed columns, the queue, a line feed, and JSON.
local function token_of(record) return string.sub(record, 1, 16) end
local function status_of(record) return string.sub(record, 17, 17) end
local function ticket_of(record) return string.sub(record, 18, 33) end
local function queue_of(record) return string.sub(record, 50, string.find(record, '\n', 50, true) - 1) end

-- Numbers are microseconds or counters below 2^53, which a double holds exactly.
local function digits(n) return string.format('%.0f', n) end

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

-- Collects an event for the callback exchange, if a gateway has one, and rings if it is
-- the first. Beyond the bound the oldest are dropped, and counted.
local function collect(topic, event, publish)
  local most = tonumber(call('GET', tag .. 'callback'))
  if not most then
    return
  end
  local stream = tag .. 'callback:events'
  call('XADD', stream, '*', 't', topic, 'e', event)
  local waiting = call('XLEN', stream)
  if waiting == 1 then
    call('PEXPIRE', stream, collected_ttl)
    call(publish, tag .. 'b:callback', (publisher()))
  elseif waiting > most then
    call('INCRBY', tag .. 'callback:dropped', call('XTRIM', stream, 'MAXLEN', most))
  end
end

-- The topic whose feed a channel is, nil if it is another feed.
local function topic_of(channel) return string.match(channel, '^topic:[^%z]*%z(.*)$') end

-- Appends to a feed of this partition and rings. feed: keep, chunk, ttl in
-- milliseconds, the command that publishes. An event with a topic is collected here, so
-- that it reaches the callback exchange in the order of its topic's feed.
local function append(channel, event, now, feed)
  local top, stream = tag .. 't:' .. channel, tag .. 'f:' .. channel
  local offset = call('INCR', top)
  call('XADD', stream, digits(offset) .. '-0', 't', digits(now), 'l', '0', 'e', event)
  if offset > feed.keep and offset % feed.chunk == 0 then
    call('XTRIM', stream, 'MAXLEN', feed.keep)
  end
  if call('ZADD', tag .. 'aging', 'NX', digits(now), channel) == 1 or offset % 100 == 0 then
    call('PEXPIRE', top, feed.ttl)
    call('PEXPIRE', stream, feed.ttl)
  end
  call(feed.publish, tag .. 'b:' .. channel, digits(offset) .. ':0' .. event)
  local topic = topic_of(channel)
  if topic then
    collect(topic, event, feed.publish)
  end
end

-- Appends an event to its request's own channel and to the feeds that stand in
-- ARGV from first on, each with the partition it lives in if it is another one:
-- then the event goes to the outbox for that partition.
local function emit(id, sequence, token, last, event, now, feed, first)
  call('XADD', tag .. 'e:' .. id, sequence .. '-0', 't', token, 'l', last, 'e', event)
  call(feed.publish, tag .. 'b:request:' .. id, sequence .. ':' .. last .. event)
  local out, topic
  for i = first, #ARGV, 2 do
    topic = topic or topic_of(ARGV[i])
    if ARGV[i + 1] == '' then
      append(ARGV[i], event, now, feed)
    else
      if not out then
        out = digits(tick(now))
        call('SET', tag .. 'clock', out)
      end
      call('XADD', tag .. 'x:' .. ARGV[i + 1], out .. '-' .. i, 'c', ARGV[i], 'e', event)
    end
  end
  if not topic then
    collect('', event, feed.publish)
  end
end
