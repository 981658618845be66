-- Renews a lease, takes work back from those whose lease has run out, and lets be taken what is due. ARGV: the lease, for how long in µs, 1 if it is new,
-- how long in µs nobody may have been here, how often work may be lost, time ahead, the routes of the process, each behind a space ('': they
-- are told elsewhere), the name of the process, and the routes for which it sleeps: it is noted again that it does, should that be lost. Answers when the next is due, from now, in µs, -1 for never; how much the process holds; how many leases of
-- others have run out, how much of theirs was handed out again, and how much put aside; for how many of the routes
-- there is something that it was not woken for.
local holder, now, limit = ARGV[1], time(ARGV[6]), tonumber(ARGV[5])
local leases, until_then = tag .. 'q:leases', digits(now + ARGV[2])
begin()
local before = tonumber(call('GET', tag .. 'q:tended')) or 0
call('SET', tag .. 'q:tended', digits(now))
if now - before > tonumber(ARGV[4]) or now < before then
  -- The server was away, or its clock was set: nobody could renew a lease. By a clock that was set back they would last longer, too.
  for _, other in ipairs(call('ZRANGEBYSCORE', leases, '-inf', now < before and '+inf' or until_then)) do
    call('ZADD', leases, until_then, other)
  end
end
local holds = ARGV[3] == '1' or call('ZSCORE', leases, holder)
if holds then
  call('ZADD', leases, until_then, holder)
end
local over, back, buried = 0, 0, 0
for _, other in ipairs(call('ZRANGEBYSCORE', leases, '-inf', digits(now), 'LIMIT', '0', '16')) do
  local b, d = release(other, 'lost', limit, now)
  over, back, buried = over + 1, back + b, buried + d
  call('HDEL', tag .. 'q:on', other)
end
if ARGV[7] ~= '' and holds then -- nobody would ever take back what a lease says that is none
  call('HSET', tag .. 'q:on', holder, ARGV[7])
end
local later = tag .. 'q:later'
local due = call('ZRANGEBYSCORE', later, '-inf', digits(now), 'LIMIT', '0', '1000')
if #due > 0 then
  for _, entry in ipairs(due) do
    local queue, rest = parts(entry)
    enqueue(queue, rest, '')
  end
  call('ZREM', later, unpack(due))
end
load()
local ready = 0
for i = 9, #ARGV do
  if call('EXISTS', tag .. 'q:r:' .. ARGV[i]) == 1 then
    ready = ready + 1
  else
    call('SADD', tag .. 'q:w:' .. ARGV[i], ARGV[8])
  end
end
local next = call('ZRANGE', later, '0', '0', 'WITHSCORES')[2]
return { holds and 'ok' or 'lost', next and digits(math.max(next - now, 0)) or '-1', call('HLEN', tag .. 'q:h:' .. holder), over, back, buried, ready }
