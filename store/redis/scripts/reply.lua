-- Remembers the first reply to an idempotency key, if it names the request still. ARGV: digest, reply, the request, its life.
local known = call('HMGET', tag .. 'k:' .. ARGV[1], 'r', 'v')
if known[1] == ARGV[3] and (known[2] or '') == ARGV[4] then
  call('HSET', tag .. 'k:' .. ARGV[1], 'y', ARGV[2])
end
return { 'ok' }
