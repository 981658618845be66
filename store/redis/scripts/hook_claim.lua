-- Lends deliveries that are due. Endpoints take turns, first the one that has waited longest for its own.
-- ARGV: time ahead, how many at most, by how many µs a lease is longer than the endpoint's timeout, token, for how many µs more a lease
-- that has run out is left to who has it.
-- Answers: the time, how long until something may be claimed (see hook_next), and of each endpoint of which something was lent
-- its record, how it fares, and id, lane, type, attempts made and body of what was lent.
local now, limit, grace, token = time(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local due = tag .. 'w:due'
local grain = 10000 -- µs for which an endpoint with a high rate gets deliveries together

-- What is lent longer than its lease waits again, due as it was.
local function take_back(e)
  for _, message in ipairs(call('ZRANGEBYSCORE', key_of(e, 'sending'), '-inf', digits(now - ARGV[5]))) do
    local delivery = delivery_of(e, message)
    call('ZADD', key_of(e, 'waiting'), call('HGET', delivery, 'd'), message)
    call('HSET', delivery, 's', 'w')
    call('ZREM', key_of(e, 'sending'), message)
  end
end

-- What may be lent of an endpoint.
local function candidates(e, most)
  take_back(e)
  most = math.min(most, room(e))
  if e.interval > 0 then
    most = math.min(most, now < e.rated and 0 or math.max(1, math.floor(grain / e.interval)))
  end
  if most <= 0 or e.status ~= 'active' or now < e.hold then
    return {}
  elseif e.concurrency == 1 then
    local message, at = earliest(e)
    return message and at <= now and { message } or {}
  end
  return call('ZRANGEBYSCORE', key_of(e, 'waiting'), '-inf', digits(now), 'LIMIT', 0, most)
end

local function lend(e, message)
  local delivery = delivery_of(e, message)
  local v = call('HMGET', delivery, 'l', 'y', 'n', 'b')
  call('HSET', delivery, 's', 's', 't', token)
  call('ZADD', key_of(e, 'sending'), digits(now + e.timeout + grace), message)
  call('ZREM', key_of(e, 'waiting'), message)
  if e.interval > 0 then
    e.rated = math.max(e.rated, now) + e.interval
  end
  e.lent[#e.lent + 1] = { message, v[1], v[2], v[3], call('HGET', tag .. 'w:m:' .. v[4], 'b') }
end

-- Notes when an endpoint is to be looked at again. Reports whether it is not due any more.
local function reschedule(e)
  if e.interval > 0 and #e.lent > 0 then
    call('HSET', tag .. 'w:e:' .. e.id, 'rated', digits(e.rated))
  end
  local at = eligible(e)
  if at then
    call('ZADD', due, digits(math.max(at, now)), e.id)
  else
    call('ZREM', due, e.id)
  end
  return not at or at > now
end

local lent, count, moved = {}, 0, true
while count < limit and moved do
  local endpoints, before = {}, count
  moved = false
  for _, id in ipairs(call('ZRANGEBYSCORE', due, '-inf', digits(now), 'LIMIT', 0, limit - count)) do
    local e = endpoint(id)
    if e then
      e.candidates, e.lent = candidates(e, limit - count), {}
      endpoints[#endpoints + 1] = e
    else
      call('ZREM', due, id)
    end
  end
  local turn, more = 1, true
  while more do
    more = false
    for _, e in ipairs(endpoints) do
      if e.candidates[turn] and count < limit then
        lend(e, e.candidates[turn])
        count, more = count + 1, true
      end
    end
    turn = turn + 1
  end
  for _, e in ipairs(endpoints) do
    moved = reschedule(e) or moved
    if #e.lent > 0 then
      lent[#lent + 1] = e
    end
  end
  moved = moved or count > before
end

local answer = {}
for i, e in ipairs(lent) do
  answer[i] = { call('HMGET', tag .. 'w:e:' .. e.id, 'json', 'version', 'created', 'updated'), health(e, now), e.lent }
end
local first = first_of(due)
return { digits(now), first and digits(math.max(0, first - now)) or '-1', answer }
