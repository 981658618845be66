-- Makes deliveries of messages to an endpoint.
-- ARGV: time ahead, publish, token, owner, endpoint; id, lane, type and body of each message.
local e, now, made, seen = endpoint(ARGV[5], ARGV[4]), time(ARGV[1]), 0, {}
if not e then
  return { 'gone' }
end
for i = 6, #ARGV, 4 do
  local m = { id = ARGV[i], lane = ARGV[i + 1], type = ARGV[i + 2], body = ARGV[i + 3], token = ARGV[3] }
  if not seen[m.id] and enqueue(e, m, now) then
    made = made + 1
  end
  seen[m.id] = true
end
if made > 0 then
  schedule(e, now, ARGV[2])
end
return { 'ok', made }
