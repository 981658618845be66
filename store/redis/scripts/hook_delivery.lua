-- Reads a delivery. ARGV: time ahead, owner, endpoint, message.
local e = endpoint(ARGV[3], ARGV[2])
local d = e and shown(e, ARGV[4], time(ARGV[1]))
if not d then
  return { 'gone' }
end
local body = call('HGET', delivery_of(e, ARGV[4]), 'b')
return { 'ok', d, call('HGET', tag .. 'w:m:' .. body, 'b'), call('LRANGE', tag .. 'w:a:' .. e.number .. ':' .. ARGV[4], 0, -1) }
