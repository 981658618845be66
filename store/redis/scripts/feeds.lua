-- Stands in front of the scripts that append to feeds, behind the settings (see newWriters): publish, the command
-- that does; alone, whether everybody subscribes at this server; how much is kept, feed_ttl in milliseconds. Times are in
-- microseconds, as strings. handover is
-- one function around what is rarely needed: to make all those that are in it takes longer than a short script.

-- What is asked and counted once for all that a script does: nobody comes in between.
local ears, takers, tops, counted = {}, {}, {}, {}

-- Whether somebody listens to a feed. Lua copies and hashes what it joins, so to ask costs less than to join an event for nobody.
local function heard(channel)
  if not alone then
    return true -- only publishing tells
  end
  local known = ears[channel]
  if known == nil then
    known = call('PUBSUB', 'NUMSUB', tag .. 'b:' .. channel)[2] > 0
    ears[channel] = known
  end
  return known
end

-- Appends to a feed of this partition and rings. What is appended after the first one is counted at the end, see count.
local function append(channel, event, now)
  local stream, n = tag .. 'f:' .. channel, tops[channel]
  if n then
    n = n + 1
  else
    n = call('INCR', tag .. 't:' .. channel)
    counted[channel] = n
  end
  local offset = digits(n)
  call('XADD', stream, offset .. '-0', 't', now, 'e', event)
  tops[channel] = n
  if n > feed_keep and n % feed_chunk == 0 then
    call('XTRIM', stream, 'MAXLEN', feed_keep)
  end
  if n == 1 or n % 100 == 0 then
    call('ZADD', tag .. 'aging', 'NX', now, channel)
    call('PEXPIRE', tag .. 't:' .. channel, feed_ttl)
    call('PEXPIRE', stream, feed_ttl)
  end
  if heard(channel) then
    call(publish, tag .. 'b:' .. channel, offset .. ':' .. event)
  end
end

-- Brings the tops of feeds up to what was appended.
local function count()
  for channel, n in pairs(tops) do
    if n > counted[channel] then
      call('INCRBY', tag .. 't:' .. channel, digits(n - counted[channel]))
    end
  end
end

-- Gives an event that is in its feeds to who else takes it, which mostly is nobody: the callback exchange, with
-- the feed of its topic ('': it has none; nil: that happens where that feed is, so that events leave in
-- its order), and the webhook endpoints of its owner, whose feed is named (nil: it is in another partition; hook: see deliver).
local function hand_on(topic, owner, event, now, hook)
  local whose = owner or ''
  if takers[whose] == nil then
    takers[whose] = call('EXISTS', tag .. 'callback', tag .. 'w:wants:' .. string.sub(whose, 7)) > 0
  end
  if hook ~= '' or takers[whose] then
    handover(topic, owner, event, now, hook)
  end
end

-- Appends to a feed, which stands behind the number of its partition and a space if that is another one: then to the outbox
-- for that. Answers the feed if it is of this one.
local function feed(channel, event, now, hook)
  if string.byte(channel) > 57 then -- no digit
    append(channel, event, now)
    return channel
  end
  local at, name = string.match(channel, '^(%d+) (.*)$')
  local out = digits(tick(now))
  call('SET', tag .. 'clock', out)
  call('XADD', tag .. 'x:' .. at, out .. '-0', 'c', name, 'e', event, 'w', hook)
  return nil
end

-- Appends an event, which is the request's record as it is then, to its own channel, where it is published as it is because it says itself
-- which offset it has there and whether it is the last, and to its feeds, its owner's and its topic's, if it has one.
local function emit(name, sequence, event, now, hook, owner, topic)
  call('XADD', tag .. 'e:' .. name, sequence .. '-0', 'e', event)
  call(publish, tag .. 'b:request:' .. name, event)
  owner = feed(owner, event, now, hook)
  if topic then
    topic = feed(topic, event, now, hook)
  else
    topic = ''
  end
  hand_on(topic, owner, event, now, hook)
end
