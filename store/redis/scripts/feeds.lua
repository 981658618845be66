-- Stands behind deliveries.lua in front of the scripts that append to feeds.

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
-- that it reaches the callback exchange in the order of its topic's feed. In the feed of its owner it is
-- given to that one's webhook endpoints (hook: see deliver).
local function append(channel, event, now, feed, hook)
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
  local topic, owner = topic_of(channel), string.match(channel, '^owner:(.*)$')
  if topic then
    collect(topic, event, feed.publish)
  elseif owner then
    deliver(owner, event, now, feed.publish, hook)
  end
end

-- Appends an event to its request's own channel and to the feeds that stand in
-- ARGV from first on, each with the partition it lives in if it is another one:
-- then the event goes to the outbox for that partition.
local function emit(id, sequence, token, last, event, now, feed, hook, first)
  call('XADD', tag .. 'e:' .. id, sequence .. '-0', 't', token, 'l', last, 'e', event)
  call(feed.publish, tag .. 'b:request:' .. id, sequence .. ':' .. last .. event)
  local out, topic
  for i = first, #ARGV, 2 do
    topic = topic or topic_of(ARGV[i])
    if ARGV[i + 1] == '' then
      append(ARGV[i], event, now, feed, hook)
    else
      if not out then
        out = digits(tick(now))
        call('SET', tag .. 'clock', out)
      end
      call('XADD', tag .. 'x:' .. ARGV[i + 1], out .. '-' .. i, 'c', ARGV[i], 'e', event, 'w', hook)
    end
  end
  if not topic then
    collect('', event, feed.publish)
  end
end
