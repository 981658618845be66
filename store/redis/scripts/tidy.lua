-- Takes a request out of the indexes that is not there. ARGV: id.
if call('EXISTS', tag .. 'r:' .. ARGV[1]) == 0 then
  call('ZREM', tag .. 'expiry', ARGV[1])
  call('ZREM', tag .. 'processing', ARGV[1])
  for _, route in ipairs(call('ZRANGE', tag .. 'dead', 0, -1)) do
    call('ZREM', tag .. 'dead:' .. route, ARGV[1])
    if call('EXISTS', tag .. 'dead:' .. route) == 0 then
      call('ZREM', tag .. 'dead', route)
    end
  end
end
return { 'ok' }
