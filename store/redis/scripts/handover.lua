-- What hand_on in feeds.lua does if there is somebody to give an event to; behind lease.lua and deliveries.lua.
local topic, owner, event, now, hook = ...

-- Collects an event for the callback exchange, if a gateway has one, and rings if it is
-- the first. Beyond the bound the oldest are dropped, and counted.
local function collect()
  local most = tonumber(call('GET', tag .. 'callback'))
  if not most then
    return
  end
  local stream = tag .. 'callback:events'
  call('XADD', stream, '*', 't', string.match(topic, '^topic:[^%z]*%z(.*)$') or '', 'e', event)
  local waiting = call('XLEN', stream)
  if waiting == 1 then
    call('PEXPIRE', stream, collected_ttl)
    call(publish, tag .. 'b:callback', (publisher()))
  elseif waiting > most then
    call('INCRBY', tag .. 'callback:dropped', call('XTRIM', stream, 'MAXLEN', most))
  end
end

if topic then
  collect()
end
if owner then
  deliver(string.match(owner, '^owner:(.*)$'), event, tonumber(now), publish, hook)
end
