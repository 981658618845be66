-- What hand_on in feeds.lua does if there is somebody to give an event to: the callback exchange, see exchange_append.lua, or
-- webhook endpoints, see deliveries.lua.
local topic, owner, event, now, hook = ...

if topic then
  collect(topic, event)
end
if owner then
  deliver(string.match(owner, '^owner:(.*)$'), event, tonumber(now), publish, hook)
end
