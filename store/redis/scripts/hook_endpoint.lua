-- Reads an endpoint. ARGV: time ahead, owner, id.
local e = endpoint(ARGV[3], ARGV[2])
if not e then
  return { 'gone' }
end
local record = call('HMGET', tag .. 'w:e:' .. e.id, 'json', 'version', 'created', 'updated')
return { 'ok', record[1], record[2], record[3], record[4], health(e, time(ARGV[1])) }
