-- Stands in front of the scripts that append to feeds, behind the settings (see newWriters): publish, the command
-- that does; alone, whether everybody subscribes at this server; how much is kept, feed_ttl in milliseconds. Times are in
-- microseconds, as strings. handover is
-- one function around what is rarely needed: to make all those that are in it takes longer than a short script.

-- How many listen to each of some feeds, which stand in ARGV from first on, every step-th: a table with a count at each second
-- place, or nil if only publishing tells. Lua copies and hashes what it joins, so to ask costs less than to join an event for nobody.
local function listening(first, last, step)
  if not alone then
    return nil
  end
  local bells = {}
  for i = first, last, step do
    bells[#bells + 1] = tag .. 'b:' .. ARGV[i]
  end
  return call('PUBSUB', 'NUMSUB', unpack(bells))
end

-- Appends to a feed of this partition and rings if heard.
local function append(channel, event, now, heard)
  local top, stream = tag .. 't:' .. channel, tag .. 'f:' .. channel
  local n = call('INCR', top)
  local offset = digits(n)
  call('XADD', stream, offset .. '-0', 't', now, 'l', '0', 'e', event)
  if n > feed_keep and n % feed_chunk == 0 then
    call('XTRIM', stream, 'MAXLEN', feed_keep)
  end
  if n == 1 or n % 100 == 0 then
    call('ZADD', tag .. 'aging', 'NX', now, channel)
    call('PEXPIRE', top, feed_ttl)
    call('PEXPIRE', stream, feed_ttl)
  end
  if heard then
    call(publish, tag .. 'b:' .. channel, offset .. ':' .. event)
  end
end

-- Gives an event that is in its feeds to who else takes it, which mostly is nobody: the callback exchange, with
-- the feed of its topic ('': it has none; nil: that happens where that feed is, so that events leave in
-- its order), and the webhook endpoints of its owner, whose feed is named (nil: it is in another partition; hook: see deliver).
local function hand_on(topic, owner, event, now, hook)
  if hook ~= '' or call('EXISTS', tag .. 'callback', tag .. 'w:wants:' .. string.sub(owner or '', 7)) > 0 then
    handover(topic, owner, event, now, hook)
  end
end

-- Appends an event to its request's own channel, where it is published as it is because it says itself
-- which offset it has there and whether it is the last, and to the feeds that stand in
-- ARGV from first on, its owner's and its topic's, each with the partition it lives in if it is another one:
-- then the event goes to the outbox for that partition.
local function emit(id, sequence, token, last, event, now, hook, first)
  call('XADD', tag .. 'e:' .. id, sequence .. '-0', 't', token, 'l', last, 'e', event)
  call(publish, tag .. 'b:request:' .. id, event)
  local heard = listening(first, #ARGV, 2)
  local owner, topic, out = nil, '', nil
  for i = first, #ARGV, 2 do
    local channel, at = ARGV[i], ARGV[i + 1]
    local here = at == ''
    if here then
      append(channel, event, now, not heard or heard[i - first + 2] > 0)
    else
      if not out then
        out = digits(tick(now))
        call('SET', tag .. 'clock', out)
      end
      call('XADD', tag .. 'x:' .. at, out .. '-' .. i, 'c', channel, 'e', event, 'w', hook)
    end
    if i == first then
      owner = here and channel or nil
    else
      topic = here and channel or nil
    end
  end
  hand_on(topic, owner, event, now, hook)
end
