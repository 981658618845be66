-- Has the index say when a stream is due, if it has not been changed meanwhile. ARGV: name, the token of what is known of it, '' if it is not
-- there; when, in µs, '' for never.
if call('GETRANGE', tag .. 'y:' .. ARGV[1], '0', '15') == ARGV[2] then
  if ARGV[3] == '' then
    call('ZREM', tag .. 'y:due', ARGV[1])
  else
    call('ZADD', tag .. 'y:due', ARGV[3], ARGV[1])
  end
end
return { 'ok' }
