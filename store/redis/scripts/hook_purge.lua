-- Forgets deliveries that were settled long ago, or whose endpoint is gone, and one-off endpoints that nobody has named
-- for long. It begins with what frees memory, so that a server without any does not refuse it.
-- ARGV: time ahead, retention in µs, how many at most. Answers whether there may be more, and the endpoints forgotten.
local now, limit, dropped = time(ARGV[1]), tonumber(ARGV[3]), {}
local before = digits(now - ARGV[2])

local more = 0
local settled = call('ZRANGEBYSCORE', tag .. 'w:settled', '-inf', before, 'LIMIT', 0, limit)
for _, member in ipairs(settled) do
  local number, message = string.match(member, '^(%d+)%z(.*)$')
  forget_delivery({ number = number }, message)
end
local once = call('ZRANGEBYSCORE', tag .. 'w:once', '-inf', before, 'LIMIT', 0, limit)
for _, id in ipairs(once) do
  local e = endpoint(id)
  -- What waits keeps only one that can still deliver it, see dispatch.Endpoint.Holds.
  if e and (e.status == 'active' or e.status == 'paused') and call('EXISTS', key_of(e, 'waiting'), key_of(e, 'blocked'), key_of(e, 'sending')) > 0 then
    call('ZADD', tag .. 'w:once', digits(now), id) -- looked at again when as much time has passed
  elseif e then
    drop(e)
    dropped[#dropped + 1] = id
  else
    call('ZREM', tag .. 'w:once', id)
  end
end
local gone = call('SRANDMEMBER', tag .. 'w:gone')
if gone then
  local e = { number = gone }
  local page = call('ZRANGE', key_of(e, 'log'), 0, limit - 1)
  for _, message in ipairs(page) do
    forget_delivery(e, message)
  end
  if #page < limit then
    call('UNLINK', key_of(e, 'waiting'), key_of(e, 'blocked'), key_of(e, 'sending'))
    call('SREM', tag .. 'w:gone', gone)
  end
  more = call('EXISTS', tag .. 'w:gone')
end
if #settled == limit or #once == limit then
  more = 1
end
return { more, dropped }
