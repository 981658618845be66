-- Lets one process at a time do something. ARGV: what, who asks, for how long in ms.
local key = tag .. 'lead:' .. ARGV[1]
local holder = call('GET', key)
if holder and holder ~= ARGV[2] then
  return { 'held' }
end
call('SET', key, ARGV[2], 'PX', ARGV[3])
return { 'ok' }
