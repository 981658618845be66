-- Takes or renews the lease on what is collected for the callback exchange, removes what
-- was published and answers the oldest of the rest. Whoever has lost the lease removes nothing.
-- ARGV: time ahead, token, lease in µs, how many; the entries that were published.
local now = time(ARGV[1])
local holder, expires = publisher()
if holder ~= ARGV[2] then
  if now < expires then
    return { 'held', digits(expires - now) }
  elseif #ARGV > 4 then
    return { 'lost' }
  end
end
-- DEL comes first because a server without memory does not refuse it, nor what comes
-- after it: there too this has to go on, since it makes room.
call('DEL', tag .. 'callback:lease')
call('SET', tag .. 'callback:lease', string.format('%016.0f', now + ARGV[3]) .. ARGV[2])
local stream = tag .. 'callback:events'
-- Each by its id: after a failover there may be others before them that nobody has seen.
if #ARGV > 4 then
  call('XDEL', stream, unpack(ARGV, 5))
end
return { 'ok', call('XRANGE', stream, '-', '+', 'COUNT', ARGV[4]) }
