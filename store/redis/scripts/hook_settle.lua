-- Ends a claim.
-- ARGV: time ahead, publish, token of the claim, token of this write, owner, endpoint, message, new state, time until
-- it is due again in µs, the attempt, how many attempts are kept. Answers how the endpoint fares.
local token, mine, message, state, keep = ARGV[3], ARGV[4], ARGV[7], ARGV[8], tonumber(ARGV[11])
local e, now = endpoint(ARGV[6], ARGV[5]), time(ARGV[1])
local delivery = e and delivery_of(e, message)
local its_token, lane, by = unpack(e and call('HMGET', delivery, 't', 'l', 'x') or {})
if by == mine then
  return { 'ok', health(e, now) } -- the answer to the first time was lost
end
if its_token ~= token then
  return { 'lost' }
end
call('HSET', delivery, 't', '', 'x', mine)
call('HINCRBY', delivery, 'n', 1)
local attempts, log = call('HINCRBY', delivery, 'a', 1), tag .. 'w:a:' .. e.number .. ':' .. message
call('RPUSH', log, digits(now) .. ' ' .. ARGV[10])
if attempts > keep then
  call('LTRIM', log, -keep, -1)
end
if state == 'd' then -- dispatch.Health.After
  e.failures, e.failing, e.successes, e.succeeded = 0, 0, e.successes + 1, now
else
  e.failures, e.successes = e.failures + 1, 0
  e.failing = e.failures == 1 and now or e.failing
end
call('HSET', tag .. 'w:e:' .. e.id, 'failures', e.failures, 'successes', e.successes, 'failing', digits(e.failing), 'succeeded', digits(e.succeeded))
if call('ZREM', key_of(e, 'sending'), message) == 0 then -- it was taken back
  call('ZREM', key_of(e, 'waiting'), message)
  call('ZREM', key_of(e, 'blocked'), message)
end
if state == 'w' then
  local at = digits(now + ARGV[9])
  call('HSET', delivery, 's', 'w', 'd', at)
  call('ZADD', key_of(e, 'waiting'), at, message)
else
  finish(e, message, lane, state, now)
end
schedule(e, now, ARGV[2])
return { 'ok', health(e, now) }
