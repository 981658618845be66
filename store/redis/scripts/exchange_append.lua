-- Stands in front of handover.lua, behind exchange_lease.lua.

-- Appends an event, with the feed of its topic ('': it has none), to what is collected for the callback exchange, if a gateway
-- has one, and notifies who publishes it if it is the first. Beyond the bound the oldest are dropped, and counted.
local function collect(topic, event)
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
