-- Makes sure that the creation with a claim's token does not happen from now on,
-- and returns the request in case that it did. ARGV: id, token, ttl in ms.
call('SET', tag .. 'v:' .. ARGV[2], '', 'PX', ARGV[3])
return { call('GET', tag .. 'r:' .. ARGV[1]) }
