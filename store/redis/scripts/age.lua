-- Drops events that are too old from the feed that has the oldest one.
-- ARGV: time ahead, age in µs, how long a feed is kept that nothing is appended to, in ms. Answers whether there
-- may be more to do.
local now = time(ARGV[1])
local before = now - ARGV[2]
local channel = call('ZRANGEBYSCORE', tag .. 'aging', '-inf', digits(before), 'LIMIT', 0, 1)[1]
if not channel then
  return 0
end
local stream = tag .. 'f:' .. channel
local page = call('XRANGE', stream, '-', '+', 'COUNT', 200)
for _, entry in ipairs(page) do
  if tonumber(entry[2][2]) > before then
    call('XTRIM', stream, 'MINID', entry[1])
    call('ZADD', tag .. 'aging', entry[2][2], channel)
    call('PEXPIRE', stream, ARGV[3])
    call('PEXPIRE', tag .. 't:' .. channel, ARGV[3])
    return 1
  end
end
if #page == 0 then
  -- Whoever appends does not note it again, so it stays for as long as the feed has its offset.
  if call('EXISTS', tag .. 't:' .. channel) == 1 then
    call('ZADD', tag .. 'aging', digits(now), channel)
  else
    call('ZREM', tag .. 'aging', channel)
  end
else
  local ms = string.match(page[#page][1], '^%d+')
  call('XTRIM', stream, 'MINID', digits(ms + 1) .. '-0')
end
return 1
