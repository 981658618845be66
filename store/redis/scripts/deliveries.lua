-- Stands behind common.lua in front of the scripts that have to do with webhooks. Everything
-- of an owner's endpoints is in the partition of the owner's feed.

-- Keys of an endpoint other than its record carry its number, not its id, so that one that is
-- made anew with the same id has nothing of the old one.
local function key_of(e, kind) return tag .. 'w:' .. kind .. ':' .. e.number end
local function delivery_of(e, message) return tag .. 'w:d:' .. e.number .. ':' .. message end
local function lane_of(e, lane) return tag .. 'w:l:' .. e.number .. ':' .. lane end

-- The score of the first entry of a sorted set, nil if it is empty.
local function first_of(set) return tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2]) end

-- What is needed of an endpoint to schedule it; nil if there is none, or it is not the owner's
-- (nil: of anybody).
local function endpoint(id, owner)
  local v = call('HMGET', tag .. 'w:e:' .. id, 'owner', 'number', 'once', 'status', 'concurrency', 'interval', 'coalesce', 'timeout',
    'hold', 'rated', 'failures', 'successes', 'failing', 'succeeded')
  if not v[1] or (owner and v[1] ~= owner) then
    return nil
  end
  return {
    id = id, owner = v[1], number = v[2], once = v[3] == '1', status = v[4],
    concurrency = tonumber(v[5]), interval = tonumber(v[6]), coalesce = v[7] == '1', timeout = tonumber(v[8]),
    hold = tonumber(v[9]), rated = tonumber(v[10]), failures = tonumber(v[11]), successes = tonumber(v[12]), failing = tonumber(v[13]),
    succeeded = tonumber(v[14]),
  }
end

-- How many more may be lent, by dispatch.Endpoint.Slots.
local function room(e)
  return math.min(math.max(e.concurrency, 1), e.successes + 1) - call('ZCARD', key_of(e, 'sending'))
end

-- Of those that wait, the one due first, nil if there is none, and when it is due. If the endpoint takes one at a
-- time (dispatch.Endpoint.Ordered), it is one that is the first of its lane: the others are set aside until they are. They may be many,
-- so at some time it is left to the next call, which is to come at once.
local function earliest(e)
  local waiting = key_of(e, 'waiting')
  for _ = 1, 200 do
    local first = call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
    local message, due = first[1], tonumber(first[2])
    if not message or e.concurrency > 1 then
      return message, due
    end
    if call('ZRANGE', lane_of(e, call('HGET', delivery_of(e, message), 'l')), 0, 0)[1] == message then
      return message, due
    end
    call('ZADD', key_of(e, 'blocked'), first[2], message)
    call('ZREM', waiting, message)
  end
  return nil, 0
end

-- When something of it may be claimed at the earliest, nil if nothing will by itself.
local function eligible(e)
  if e.status ~= 'active' then
    return nil
  end
  local at = first_of(key_of(e, 'sending')) -- when a lease runs out
  if room(e) > 0 then
    local _, due = earliest(e)
    at = due and math.min(due, at or due) or at
  end
  return at and math.max(at, e.hold, e.interval > 0 and e.rated or 0)
end

-- Notes when an endpoint is to be looked at, and notifies who claims if that is now, or earlier than
-- anything that is known. One that is due already keeps its turn.
local notified = false
local function schedule(e, now, publish)
  local due, at = tag .. 'w:due', eligible(e)
  local old = tonumber(call('ZSCORE', due, e.id))
  if not at then
    if old then
      call('ZREM', due, e.id)
    end
    return
  end
  local first = first_of(due)
  if at > now or not old or old > now then
    call('ZADD', due, digits(math.max(at, now)), e.id)
  end
  if not notified and (at <= now or not first or at < first) then
    notified = true
    call(publish, tag .. 'b:due', '')
  end
end

-- How an endpoint fares. What is lent longer than its lease waits.
local function health(e, now)
  local sending = key_of(e, 'sending')
  local lost = call('ZCOUNT', sending, '-inf', digits(now))
  return {
    e.failures, e.successes, digits(e.failing), digits(e.succeeded), digits(e.hold > now and e.hold or 0),
    call('ZCARD', key_of(e, 'waiting')) + call('ZCARD', key_of(e, 'blocked')) + lost, call('ZCARD', sending) - lost,
  }
end

-- Makes a delivery of a message (id, lane, type, body) unless there is one, and reports whether it did, this time
-- or, if the message has the token of a write, by that. Bodies are kept by their digest, once for all deliveries, and counted.
local function enqueue(e, m, now)
  local delivery = delivery_of(e, m.id)
  local known, by = unpack(call('HMGET', delivery, 's', 'x'))
  if known then
    return by == m.token
  end
  m.digest = m.digest or redis.sha1hex(e.owner .. '\0' .. m.body)
  local at, body = digits(now), tag .. 'w:m:' .. m.digest
  if call('HINCRBY', body, 'n', 1) == 1 then
    call('HSET', body, 'b', m.body)
  end
  local order = digits(call('HINCRBY', tag .. 'w:e:' .. e.id, 'order', 1))
  call('HSET', delivery, 's', 'w', 'l', m.lane, 'y', m.type, 'b', m.digest, 'c', at, 'd', at, 'o', order, 'n', 0, 'a', 0)
  if m.token then
    call('HSET', delivery, 'x', m.token)
  end
  call('ZADD', key_of(e, 'log'), order, m.id)
  call('ZADD', lane_of(e, m.lane), order, m.id)
  call('ZADD', key_of(e, 'waiting'), at, m.id)
  return true
end

-- Settles a delivery that is not among those that wait or are lent any more. It leaves its lane, where
-- another one may have waited for that.
local function finish(e, message, lane, state, now)
  call('HSET', delivery_of(e, message), 's', state, 'z', digits(now))
  call('ZADD', tag .. 'w:settled', digits(now), e.number .. '\0' .. message)
  call('ZREM', lane_of(e, lane), message)
  if e.concurrency == 1 then
    local head = call('ZRANGE', lane_of(e, lane), 0, 0)[1]
    local due = head and call('ZSCORE', key_of(e, 'blocked'), head)
    if due then
      call('ZADD', key_of(e, 'waiting'), due, head)
      call('ZREM', key_of(e, 'blocked'), head)
    end
  end
end

-- Settles the progress in a lane that waits and was never claimed, because something newer comes.
local function supersede(e, lane, now)
  for _, message in ipairs(call('ZRANGE', lane_of(e, lane), 0, -1)) do
    local v = call('HMGET', delivery_of(e, message), 's', 'y', 't')
    if v[1] == 'w' and v[2] == 'request.progress' and not v[3] then
      if call('ZREM', key_of(e, 'waiting'), message) == 0 then
        call('ZREM', key_of(e, 'blocked'), message)
      end
      finish(e, message, lane, 'p', now)
    end
  end
end

-- Forgets an endpoint. What it leaves is known by its number, and forgotten bit by bit.
local function drop(e)
  call('UNLINK', tag .. 'w:e:' .. e.id)
  call('ZREM', tag .. 'w:own:' .. e.owner, e.id)
  call('ZREM', tag .. 'w:all', e.id)
  call('HDEL', tag .. 'w:wants:' .. e.owner, e.id)
  call('ZREM', tag .. 'w:once', e.id)
  call('ZREM', tag .. 'w:ones:' .. e.owner, e.id)
  call('ZREM', tag .. 'w:due', e.id)
  call('SADD', tag .. 'w:gone', e.number)
end

-- Forgets a delivery that is not among those that wait or are lent, or whose endpoint is gone, with
-- all that belongs to it.
local function forget_delivery(e, message)
  local delivery = delivery_of(e, message)
  local body, lane = unpack(call('HMGET', delivery, 'b', 'l'))
  call('UNLINK', delivery, tag .. 'w:a:' .. e.number .. ':' .. message)
  call('ZREM', key_of(e, 'log'), message)
  call('ZREM', tag .. 'w:settled', e.number .. '\0' .. message)
  if body then
    call('ZREM', lane_of(e, lane), message)
    if call('HINCRBY', tag .. 'w:m:' .. body, 'n', -1) <= 0 then
      call('UNLINK', tag .. 'w:m:' .. body)
    end
  end
end

-- A delivery as it is shown, nil if there is none: message, state, lane, type, attempts, due, created, settled.
local function shown(e, message, now)
  local v = call('HMGET', delivery_of(e, message), 's', 'l', 'y', 'a', 'd', 'c', 'z')
  if not v[1] then
    return nil
  end
  if v[1] == 's' and tonumber(call('ZSCORE', key_of(e, 'sending'), message)) <= now then
    v[1] = 'w' -- it is lent longer than its lease
  end
  return { message, v[1], v[2], v[3], v[4], v[5], v[6], v[7] }
end

-- The message that carries an event that is JSON: its id is dispatch.MessageID, its lane
-- dispatch.LaneOf. No id, type, topic or route has a character that is escaped.
local function message_of_json(event)
  local _, stop, name, sequence, type = string.find(event, '^{"specversion":"1%.0","id":"([^"]+)/(%d+)","source":"[^"]*","type":"([^"]*)"')
  if not name then
    return nil
  end
  return {
    id = string.gsub(name, '/', '_') .. '_' .. sequence, lane = name, type = type, body = event,
    topic = string.match(event, '^,"subject":"([^"]*)"', stop + 1) or '',
    route = string.match(event, '"data":{"id":"[^"]*",.-"status":"[^"]*","route":"([^"]*)"', stop + 1),
  }
end

-- parts.EventType
local types = {
  a = 'request.accepted', s = 'request.started', p = 'request.progress', r = 'request.retrying', w = 'request.waiting', n = 'request.answered', v = 'request.redriven',
  d = 'request.succeeded', f = 'request.failed', c = 'request.canceled', x = 'request.expired',
}

-- The message that carries an event, a record as layout.go describes it; of layout 1 it was JSON.
local function message_of(event)
  if string.sub(event, 1, 1) == '{' then
    return message_of_json(event)
  end
  local route, letter, name, sequence, topic = string.match(event, '^([^%z]*)%z[^\n]*\n%d*(%l)([^\n]-)/(%d+)/([^/\n]*)\n', 50)
  if not types[letter] then
    return nil
  end
  return { id = string.gsub(name, '/', '_') .. '_' .. sequence, lane = name, type = types[letter], body = event, topic = topic, route = route }
end

local function has(list, value)
  for _, v in ipairs(list or { value }) do
    if v == value then
      return true
    end
  end
  return false
end

-- dispatch.Endpoint.Wants, of an endpoint that has a filter: see filterOf.
local function wants(filter, m)
  if not has(filter.types, m.type) or not has(filter.routes, m.route) then
    return false
  end
  for _, pattern in ipairs(filter.topics or { '*' }) do
    if pattern == m.topic or (string.sub(pattern, -1) == '*' and string.sub(m.topic, 1, #pattern - 1) == string.sub(pattern, 1, -2)) then
      return true
    end
  end
  return false
end

-- Makes the deliveries of an event that is appended to the feed of its owner. hook: whether its request wants
-- it delivered, until when the request names its one-off endpoint, and the id of that; '' if it has none. Which endpoints
-- take it is what dispatch.Endpoint.Takes says.
local function deliver(owner, event, now, publish, hook)
  local filters = call('HGETALL', tag .. 'w:wants:' .. owner)
  if #filters == 0 and hook == '' then
    return
  end
  local m = message_of(event)
  if not m then
    return
  end
  local function give(e)
    if e.coalesce and call('EXISTS', delivery_of(e, m.id)) == 0 then
      supersede(e, m.lane, now)
    end
    if enqueue(e, m, now) then
      schedule(e, now, publish)
    end
  end
  for i = 1, #filters, 2 do
    local e = wants(cjson.decode(filters[i + 1]), m) and endpoint(filters[i], owner)
    if e then
      give(e)
    end
  end
  local wanted, named, once = string.match(hook, '^(%d) (%d+) (.*)$')
  local e = once and endpoint(once, owner)
  if e and e.once then
    call('ZADD', tag .. 'w:once', 'GT', named, once)
    if wanted == '1' and (e.status == 'active' or e.status == 'paused') then -- dispatch.Endpoint.Holds
      give(e)
    end
  end
end
