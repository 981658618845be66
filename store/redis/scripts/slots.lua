-- The body of a function around the slots of requests that are limited (lifecycle.Concurrency), rarely needed. It does what slots.go of
-- store/bolt does: see there. how: what to do, two limits and the lane ('e': enter; 's': the same, before a start; 'l': leave; 'a': leave and enter again;
-- 'v': take from who is not there any more); name: of the request; queue and ticket: its place in pending. It answers whether the request
-- has a slot then, and the names of those that waited and have one now.
local how, mine, queue, ticket = ...
local op, limit, most, lane = string.match(how, '^(%a)(%d+) (%d+) (.*)$')

-- Mostly only the key limits, and nobody waits: that needs none of what is made below. Where nobody has a slot of a lane, nobody waits for one.
if most == '0' then
  local holders = tag .. 'c:h:' .. lane
  if op == 's' and call('SISMEMBER', holders, mine) == 1 or op == 'e' and call('SCARD', holders) == 0 and call('SADD', holders, mine) then
    return true, {}
  elseif op == 'l' and call('EXISTS', tag .. 'c:w:' .. lane) == 0 then
    call('SREM', holders, mine)
    return false, {}
  end
end

local route = string.match(lane, '^[^%z]*')
local of_route, turns = tag .. 'c:r:' .. route, tag .. 'c:t:' .. route
local has, freed, parked = false, {}, 0

local function holders(of) return tag .. 'c:h:' .. of end
local function waiting(of) return tag .. 'c:w:' .. of end

-- The first of a lane: its entry, its name, the limits of its key and its route.
local function first(of)
  local entry = call('ZRANGE', waiting(of), '0', '0')[1]
  if entry then
    local its_limit, its_most, name = string.match(entry, '^%d+ (%d+) (%d+) (.*)$')
    return entry, name, tonumber(its_limit), tonumber(its_most)
  end
end

local function hold(of, name, its_most)
  call('SADD', holders(of), name)
  if its_most > 0 then
    call('SADD', of_route, name)
  end
end

local function give(of, entry, name, its_most)
  call('ZREM', turns, of)
  parked = parked - call('ZREM', waiting(of), entry)
  hold(of, name, its_most)
  if name == mine then
    has = true
  else
    freed[#freed + 1] = name
    if queued then
      enqueue(route .. '\0' .. string.sub(entry, 1, 1), string.sub(entry, 2, 17) .. name, '')
    end
  end
end

local function line(of)
  while true do
    local entry, name, its_limit, its_most = first(of)
    if not entry or its_limit > 0 and call('SCARD', holders(of)) >= its_limit then
      call('ZREM', turns, of)
      return
    end
    if its_most > 0 then
      local last = call('ZRANGE', turns, '-1', '-1', 'WITHSCORES')[2] or 0
      call('ZADD', turns, 'NX', digits(last + 1), of)
      return
    end
    give(of, entry, name, its_most)
  end
end

local function settle(of)
  line(of)
  while true do
    local next = call('ZRANGE', turns, '0', '0')[1]
    if not next then
      return
    end
    local entry, name, _, its_most = first(next)
    if not entry then
      call('ZREM', turns, next)
    elseif call('SCARD', of_route) >= its_most then
      return
    else
      give(next, entry, name, its_most)
      line(next)
    end
  end
end

limit, most = tonumber(limit), tonumber(most)
local function entry()
  return string.sub(queue, -1) .. ticket .. ' ' .. digits(limit) .. ' ' .. digits(most) .. ' ' .. mine
end

if op == 'v' then
  for _, set in ipairs({ holders(lane), of_route }) do
    for _, name in ipairs(call('SMEMBERS', set)) do
      local record = call('GETRANGE', tag .. 'r:' .. string.match(name, '^[^/]*'), '0', '16')
      if record == '' or string.find('sfce', status_of(record), 1, true) then
        call('SREM', set, name)
      end
    end
  end
  settle(lane)
end

if op == 'l' or op == 'a' then
  if call('SREM', holders(lane), mine) == 0 then
    parked = parked - call('ZREM', waiting(lane), entry())
  end
  if most > 0 then
    call('SREM', of_route, mine)
  end
  if most > 0 or call('EXISTS', waiting(lane)) == 1 then
    settle(lane)
  end
end

if op == 's' and call('SISMEMBER', holders(lane), mine) == 1 then
  has = true
elseif op == 's' or op == 'e' or op == 'a' then
  -- Mostly nobody waits.
  if (limit == 0 or call('SCARD', holders(lane)) < limit) and (most == 0 or call('SCARD', of_route) < most) and call('EXISTS', waiting(lane)) == 0 then
    hold(lane, mine, most)
    has = true
  else
    parked = parked + call('ZADD', waiting(lane), '0', entry())
    settle(lane)
  end
end
if parked ~= 0 then
  call('HINCRBY', tag .. 'stand', 'p' .. route, digits(parked))
end
return has, freed
