-- Makes a delivery due at once, unless it is being sent. ARGV: time ahead, publish, owner, endpoint, message.
local e, message, now = endpoint(ARGV[4], ARGV[3]), ARGV[5], time(ARGV[1])
local delivery = e and delivery_of(e, message)
local v = e and call('HMGET', delivery, 's', 'l', 'o', 't')
if not v or not v[1] then
  return { 'gone' }
end
local lent = tonumber(call('ZSCORE', key_of(e, 'sending'), message))
if lent and lent > now then
  return { 'conflict' }
end
call('HSET', delivery, 's', 'w', 'd', digits(now), 'n', 0)
if v[4] then
  call('HSET', delivery, 't', '')
end
call('HDEL', delivery, 'z')
call('ZADD', lane_of(e, v[2]), v[3], message)
call('ZADD', key_of(e, 'waiting'), digits(now), message)
call('ZREM', key_of(e, 'blocked'), message)
call('ZREM', key_of(e, 'sending'), message)
call('ZREM', tag .. 'w:settled', e.number .. '\0' .. message)
schedule(e, now, ARGV[2])
return { 'ok' }
