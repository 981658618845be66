-- Stands in front of the scripts that append to feeds, behind the settings (see newWriters): publish, the command
-- that does; alone, whether everybody subscribes at this server; how much is kept. Times are in
-- microseconds, as strings. handover is
-- one function around what is rarely needed: to make all those that are in it takes longer than a short script.

-- What is asked and counted once for all that a script does: nobody comes in between.
local subscribed, takers, tops, counted = {}, {}, {}, {}

-- Whether anybody has subscribed to a feed. Lua copies and hashes what it joins, so to ask costs less than to join an event for nobody.
local function has_subscribers(channel)
  if not alone then
    return true -- only publishing tells
  end
  local known = subscribed[channel]
  if known == nil then
    known = call('PUBSUB', 'NUMSUB', tag .. 'b:' .. channel)[2] > 0
    subscribed[channel] = known
  end
  return known
end

-- The first offset of a feed that is not there, or not any more: behind all that those had which
-- are gone, so that no offset comes twice. An entry without a time says then that there was nothing
-- before.
local function begin(channel, now)
  call('ZADD', tag .. 'aging', 'NX', now, channel)
  local floor = tonumber(call('GET', tag .. 'floor') or '0')
  if floor > 0 then
    call('SET', tag .. 't:' .. channel, digits(floor + 1))
    call('RPUSH', tag .. 'g:' .. channel, '', '')
  end
  return floor + 1
end

-- Appends to a feed of this partition and publishes the event; answers the offset. What is appended after the
-- first one is counted at the end, see count.
local function append(channel, event, now)
  local n = tops[channel]
  if n then
    n = n + 1
  else
    n = call('INCR', tag .. 't:' .. channel)
    if n == 1 then
      n = begin(channel, now)
    end
    counted[channel] = n
  end
  call('RPUSH', tag .. 'g:' .. channel, now, event)
  tops[channel] = n
  if n > feed_keep and n % feed_chunk == 0 then
    call('LTRIM', tag .. 'g:' .. channel, -2 * feed_keep, -1)
  end
  local offset = digits(n)
  if has_subscribers(channel) then
    call(publish, tag .. 'b:' .. channel, offset .. ':' .. event)
  end
  return offset
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
  local whose = owner or '' -- 'owner:' and the name, see lifecycle.Channel.Key
  if takers[whose] == nil then
    takers[whose] = call('EXISTS', tag .. 'callback', tag .. 'w:wants:' .. string.sub(whose, 7)) > 0
  end
  if hook ~= '' or takers[whose] then
    handover(topic, owner, event, now, hook)
  end
end

-- Appends to a feed, which stands behind the number of its partition and a space if that is another one: then to the outbox
-- for that. Answers the feed and the offset if it is of this one.
local function feed(channel, event, now, hook)
  if string.byte(channel) > 57 then -- no digit
    return channel, append(channel, event, now)
  end
  local at, name = string.match(channel, '^(%d+) (.*)$')
  local out = digits(tick(now))
  call('SET', tag .. 'clock', out)
  call('XADD', tag .. 'x:' .. at, out .. '-0', 'c', name, 'e', event, 'w', hook)
  return nil, ''
end

-- Appends an event, which is the request's record as it is then, to its own channel, where it is published as it is because it says itself
-- which offset it has there and whether it is the last, and to its feeds, its owner's and its
-- topic's, if it has one. Beside it stands which offsets it has in those, as far as they are known
-- here, so that it is found there when the request is forgotten. The event that ends a request is
-- its record from then on.
local function emit(name, sequence, event, now, hook, owner, topic, ended)
  local places, place
  owner, places = feed(owner, event, now, hook)
  if topic then
    topic, place = feed(topic, event, now, hook)
    places = places .. ' ' .. place
  else
    topic = ''
  end
  local kept = ended and '' or event
  if call('RPUSH', tag .. 'h:' .. name, kept, places) == 2 and sequence ~= '1' then -- up to layout 3 events stood in a stream
    call('UNLINK', tag .. 'h:' .. name)
    for _, entry in ipairs(call('XRANGE', tag .. 'e:' .. name, '-', '+')) do
      call('RPUSH', tag .. 'h:' .. name, entry[2][#entry[2]], '')
    end
    call('UNLINK', tag .. 'e:' .. name)
    call('RPUSH', tag .. 'h:' .. name, kept, places)
  end
  call(publish, tag .. 'b:request:' .. name, event)
  hand_on(topic, owner, event, now, hook)
end
