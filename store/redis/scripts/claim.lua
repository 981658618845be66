-- Claims an idempotency key for a request of another partition, before that is created, or for one that is there.
-- ARGV: time ahead, digest, id, fingerprint, lock in µs, token, ttl in ms, token to replace or '', life of the request.
local key = tag .. 'k:' .. ARGV[2]
local now = time(ARGV[1])
local known = call('HMGET', key, 'r', 'f', 'l', 't', 'y', 'v')
if known[4] and known[4] ~= ARGV[6] and known[4] ~= ARGV[8] then
  return { 'known', digits(now), known }
end
call('HSET', key, 'r', ARGV[3], 'v', ARGV[9], 'f', ARGV[4], 'l', digits(now + ARGV[5]), 't', ARGV[6])
call('HDEL', key, 'y')
call('PEXPIRE', key, ARGV[7])
return { 'ok' }
