-- Stores an endpoint, a new one or one as it is after a change.
-- ARGV: time ahead, publish, token, owner, id, version it is to replace (0: it is new), whether its id is known to
-- be free, JSON, filter ('': nothing is enqueued for it), whether it is one-off, status, concurrency, interval in µs, coalesce, timeout in µs,
-- how many of its kind, one-off or not, its owner may have, 0: any number.
local publish, token, owner, id, version = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local filter, once, status, concurrency, interval = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local key, now = tag .. 'w:e:' .. id, time(ARGV[1])
local its_owner, its_once, its_version, its_token = unpack(call('HMGET', key, 'owner', 'once', 'version', 'token'))
local mine = its_owner == owner

local function answer(word)
  return { word, unpack(call('HMGET', key, 'json', 'version', 'created', 'updated')) }
end
if mine and its_token == token then
  return answer('ok') -- the answer to the first time was lost
end
if version == 0 and its_owner then
  if not mine or once ~= '1' or its_once ~= '1' then
    return { 'exists' }
  end
  call('ZADD', tag .. 'w:once', 'GT', digits(now), id)
  call('ZADD', tag .. 'w:ones:' .. owner, 'NX', call('HGET', key, 'number'), id) -- a version that did not count has made it
  return answer('known')
elseif version == 0 and ARGV[16] ~= '0' and call('ZCARD', tag .. (once == '1' and 'w:ones:' or 'w:own:') .. owner) >= tonumber(ARGV[16]) then
  return { 'full' }
elseif version == 0 and ARGV[7] ~= '1' then
  return { 'unnamed' }
elseif version > 0 and not mine then
  return { 'gone' }
elseif version > 0 and tonumber(its_version) ~= version then
  return { 'conflict' }
end

local was = endpoint(id)
call('HSET', key, 'json', ARGV[8], 'version', version + 1, 'token', token, 'updated', digits(now),
  'status', status, 'concurrency', concurrency, 'interval', interval, 'coalesce', ARGV[14], 'timeout', ARGV[15])
if not was then
  local serial = digits(tick(now))
  call('SET', tag .. 'clock', serial)
  call('HSET', key, 'owner', owner, 'number', serial, 'created', digits(now), 'once', once, 'order', 0,
    'hold', 0, 'rated', 0, 'failures', 0, 'successes', 0, 'failing', 0, 'succeeded', 0)
  if once == '1' then
    call('ZADD', tag .. 'w:once', digits(now), id) -- not in the list of its owner, see below
    call('ZADD', tag .. 'w:ones:' .. owner, serial, id)
  else
    call('ZADD', tag .. 'w:own:' .. owner, serial, id)
    call('ZADD', tag .. 'w:all', serial, id)
  end
elseif status == 'active' and was.status ~= 'active' then
  call('HSET', key, 'failures', 0, 'failing', 0, 'hold', 0)
end
if was and was.once then -- one that is disabled is listed, see dispatch.Endpoint.Listed
  if status == 'disabled' then
    call('ZADD', tag .. 'w:own:' .. owner, was.number, id)
    call('ZADD', tag .. 'w:all', was.number, id)
  else
    call('ZREM', tag .. 'w:own:' .. owner, id)
    call('ZREM', tag .. 'w:all', id)
  end
end
if filter ~= '' then
  call('HSET', tag .. 'w:wants:' .. owner, id, filter)
else
  call('HDEL', tag .. 'w:wants:' .. owner, id)
end
if was then
  local e = endpoint(id)
  if e.rated > now + e.interval then
    e.rated = now + e.interval
    call('HSET', key, 'rated', digits(e.rated))
  end
  if e.concurrency > 1 and call('EXISTS', key_of(e, 'blocked')) == 1 then
    call('ZUNIONSTORE', key_of(e, 'waiting'), 2, key_of(e, 'waiting'), key_of(e, 'blocked'))
    call('UNLINK', key_of(e, 'blocked'))
  end
  schedule(e, now, publish)
end
return answer('ok')
