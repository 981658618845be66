-- Finds or sets how the store is laid out. KEYS[1] is the key itself.
-- ARGV: version, partitions to begin with, whether what is there has been brought up to this version.
local version = tonumber(call('HGET', tag, 'version'))
if call('EXISTS', tag) == 0 then
  call('HSET', tag, 'format', 'hark', 'version', ARGV[1], 'partitions', ARGV[2])
elseif version and version < tonumber(ARGV[1]) and ARGV[3] == '1' then
  call('HSET', tag, 'version', ARGV[1])
end
return call('HMGET', tag, 'format', 'version', 'partitions')
