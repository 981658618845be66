-- Forgets the deliveries of events of a request, those too that wait or are lent, at all endpoints of its owner.
-- ARGV: time ahead, publish, owner, one-off endpoint or ''; the ids of the messages.
local now, owner = time(ARGV[1]), ARGV[3]
local ids = call('ZRANGE', tag .. 'w:own:' .. owner, 0, -1)
if ARGV[4] ~= '' then
  ids[#ids + 1] = ARGV[4]
end
for _, id in ipairs(ids) do
  local e, changed = endpoint(id, owner), false
  for i = 5, e and #ARGV or 0 do
    local message = ARGV[i]
    local delivery = delivery_of(e, message)
    local state, lane = unpack(call('HMGET', delivery, 's', 'l'))
    if state then
      if state == 'w' or state == 's' then
        for _, kind in ipairs({ 'waiting', 'blocked', 'sending' }) do
          call('ZREM', key_of(e, kind), message)
        end
        finish(e, message, lane, 'x', now)
        changed = true
      end
      forget_delivery(e, message)
    end
  end
  if changed then
    schedule(e, now, ARGV[2])
  end
end
return { 'ok' }
