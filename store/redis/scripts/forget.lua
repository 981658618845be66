-- Forgets a request that has not been changed meanwhile.
-- ARGV: id, expected token, owner, its entry in the owner's list, digest of its key or ''.
local id = ARGV[1]
local old = call('GET', tag .. 'r:' .. id)
if not old then
  return { 'gone' }
end
if header(old) ~= ARGV[2] then
  return { 'conflict' }
end
call('UNLINK', tag .. 'r:' .. id, tag .. 'e:' .. id, tag .. 'i:' .. id, tag .. 'o:' .. id)
call('ZREM', tag .. 'expiry', id)
call('ZREM', tag .. 'own:' .. ARGV[3], ARGV[4])
if ARGV[5] ~= '' and call('HGET', tag .. 'k:' .. ARGV[5], 'r') == id then
  call('UNLINK', tag .. 'k:' .. ARGV[5])
end
return { 'ok' }
