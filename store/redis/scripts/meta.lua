-- Finds or sets how the store is laid out. KEYS[1] is the key itself.
-- ARGV: version, partitions to begin with.
if call('EXISTS', tag) == 0 then
  call('HSET', tag, 'format', 'hark', 'version', ARGV[1], 'partitions', ARGV[2])
end
return call('HMGET', tag, 'format', 'version', 'partitions')
