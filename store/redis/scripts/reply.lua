-- Remembers the first reply to an idempotency key. ARGV: digest, reply.
if call('EXISTS', tag .. 'k:' .. ARGV[1]) == 1 then
  call('HSET', tag .. 'k:' .. ARGV[1], 'y', ARGV[2])
end
return { 'ok' }
