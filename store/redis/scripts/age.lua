-- Drops events that are too old from the feed that has the oldest one, and the feed itself when it has none left and nobody has subscribed to it.
-- ARGV: time ahead, age in µs, whether everybody subscribes at this server, the command that publishes. Answers whether there
-- may be more to do.
local now = time(ARGV[1])
local before = now - ARGV[2]
local channel = call('ZRANGEBYSCORE', tag .. 'aging', '-inf', digits(before), 'LIMIT', 0, 1)[1]
if not channel then
  return 0
end
local list, old = tag .. 'g:' .. channel, 0
local page = call('LRANGE', list, 0, 399)
for i = 1, #page, 2 do
  local at = tonumber(page[i])
  if at and at > before then
    if old > 0 then
      call('LTRIM', list, old, -1)
    end
    call('ZADD', tag .. 'aging', page[i], channel)
    return 1
  end
  old = i + 1
end
if old > 0 then
  call('LTRIM', list, old, -1)
  return 1
end

-- Whether anybody has subscribed, as far as that is known here: who does would take what comes behind a
-- gap for a loss.
local function has_subscribers()
  if ARGV[3] ~= '1' and ARGV[4] ~= 'SPUBLISH' then
    return false
  end
  local counts = call('PUBSUB', ARGV[3] == '1' and 'NUMSUB' or 'SHARDNUMSUB', tag .. 'b:' .. channel)
  return counts[2] > 0
end
if has_subscribers() then
  call('ZADD', tag .. 'aging', digits(now), channel)
  return 1
end
-- What it has counted is not counted again by any feed that begins from now on.
local top = tonumber(call('GET', tag .. 't:' .. channel) or '0')
call('UNLINK', tag .. 't:' .. channel)
call('ZREM', tag .. 'aging', channel)
if top > tonumber(call('GET', tag .. 'floor') or '0') then
  call('SET', tag .. 'floor', digits(top))
end
return 1
