-- What is known of a request before a step of it is taken.
-- ARGV: time ahead, id, digest of an idempotency key or '', what to count ('own':
-- before the request; 'tail': in its queue; 'queue': in the queue given; ''), queue.
local id, what = ARGV[2], ARGV[4]
local record = call('GET', tag .. 'r:' .. id)
local count = 0
if what == 'queue' then
  count = behind(ARGV[5])
elseif record and what == 'tail' then
  local _, _, _, queue = header(record)
  count = behind(queue)
elseif record and what == 'own' and status_of(record) == 'p' then
  count = ahead_of(record, id)
end
local known = {}
if ARGV[3] ~= '' then
  known = call('HMGET', tag .. 'k:' .. ARGV[3], 'r', 'f', 'l', 't', 'y', 'v')
end
return { digits(time(ARGV[1])), record, count, known }
