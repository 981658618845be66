-- Frees an idempotency key. ARGV: digest, the request or '', the claim's token or ''.
local key = tag .. 'k:' .. ARGV[1]
local known = call('HMGET', key, 'r', 't')
if known[1] and (known[1] == ARGV[2] or known[2] == ARGV[3]) then
  call('UNLINK', key)
end
return { 'ok' }
