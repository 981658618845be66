-- Takes a request out of the indexes that is not there. ARGV: id.
if call('EXISTS', tag .. 'r:' .. ARGV[1]) == 0 then
  call('ZREM', tag .. 'expiry', ARGV[1])
  call('ZREM', tag .. 'processing', ARGV[1])
  unlist('made', ARGV[1])
  unlist('dead', ARGV[1])
end
return { 'ok' }
