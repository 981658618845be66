-- Stands in front of the scripts that append to feeds, behind deliver, which holds deliveries.lua.

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

-- The topic, or the owner, whose feed a channel is.
local function named(channel)
  return string.match(channel, '^topic:[^%z]*%z(.*)$'), string.match(channel, '^owner:(.*)$')
end

-- Appends to a feed of this partition and rings. feed: keep, chunk, ttl in
-- milliseconds, the command that publishes.
local function append(channel, event, now, feed)
  local top, stream = tag .. 't:' .. channel, tag .. 'f:' .. channel
  local offset = call('INCR', top)
  call('XADD', stream, digits(offset) .. '-0', 't', digits(now), 'l', '0', 'e', event)
  if offset > feed.keep and offset % feed.chunk == 0 then
    call('XTRIM', stream, 'MAXLEN', feed.keep)
  end
  if offset == 1 or offset % 100 == 0 then
    call('ZADD', tag .. 'aging', 'NX', digits(now), channel)
    call('PEXPIRE', top, feed.ttl)
    call('PEXPIRE', stream, feed.ttl)
  end
  call(feed.publish, tag .. 'b:' .. channel, digits(offset) .. ':' .. event)
end

-- Gives an event that is in its feeds to who else takes it, which mostly is nobody: the callback exchange, with
-- the topic ('': it has none; nil: that happens where the topic's feed is, so that events leave in
-- the order of that), and the webhook endpoints of its owner (nil: they are in another partition; hook: see deliver).
local function hand_on(topic, owner, event, now, feed, hook)
  if hook == '' and call('EXISTS', tag .. 'callback', tag .. 'w:wants:' .. (owner or '')) == 0 then
    return
  end
  if topic then
    collect(topic, event, feed.publish)
  end
  if owner then
    deliver(owner, event, now, feed.publish, hook)
  end
end

-- Appends an event to its request's own channel, where it is published as it is because it says itself
-- which offset it has there and whether it is the last, and to the feeds that stand in
-- ARGV from first on, each with the partition it lives in if it is another one:
-- then the event goes to the outbox for that partition.
local function emit(id, sequence, token, last, event, now, feed, hook, first)
  call('XADD', tag .. 'e:' .. id, sequence .. '-0', 't', token, 'l', last, 'e', event)
  call(feed.publish, tag .. 'b:request:' .. id, event)
  local topic, owner, out = '', nil, nil
  for i = first, #ARGV, 2 do
    local its_topic, its_owner = named(ARGV[i])
    if ARGV[i + 1] == '' then
      append(ARGV[i], event, now, feed)
      topic, owner = its_topic or topic, its_owner or owner
    else
      if its_topic then
        topic = nil
      end
      if not out then
        out = digits(tick(now))
        call('SET', tag .. 'clock', out)
      end
      call('XADD', tag .. 'x:' .. ARGV[i + 1], out .. '-' .. i, 'c', ARGV[i], 'e', event, 'w', hook)
    end
  end
  hand_on(topic, owner, event, now, feed, hook)
end
