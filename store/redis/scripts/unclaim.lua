-- Frees an idempotency key. ARGV: digest, the request or '', its life, the claim's token or ''.
local key = tag .. 'k:' .. ARGV[1]
local known = call('HMGET', key, 'r', 'v', 't')
if known[1] and (known[1] == ARGV[2] and (known[2] or '') == ARGV[3] or known[3] == ARGV[4]) then
  call('UNLINK', key)
end
return { 'ok' }
