-- Lets nothing of an endpoint be claimed for a time. ARGV: time ahead, publish, owner, endpoint, time in µs.
local e, now = endpoint(ARGV[4], ARGV[3]), time(ARGV[1])
if not e then
  return { 'gone' }
end
if now + ARGV[5] > e.hold then
  e.hold = now + ARGV[5]
  call('HSET', tag .. 'w:e:' .. e.id, 'hold', digits(e.hold))
  schedule(e, now, ARGV[2])
end
return { 'ok' }
