-- Lists the endpoints of an owner, newest first. ARGV: owner, the id after which to begin or '', limit.
local own, highest = tag .. 'w:own:' .. ARGV[1], '+inf'
if ARGV[2] ~= '' then
  local serial = call('ZSCORE', own, ARGV[2])
  if not serial then
    return { 'gone' }
  end
  highest = '(' .. serial
end
local found = {}
for _, id in ipairs(call('ZREVRANGEBYSCORE', own, highest, '-inf', 'LIMIT', 0, ARGV[3])) do
  found[#found + 1] = call('HMGET', tag .. 'w:e:' .. id, 'json', 'version', 'created', 'updated')
end
return { 'ok', found }
