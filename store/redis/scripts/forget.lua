-- Forgets a request that has not been changed meanwhile.
-- ARGV: id, expected token, owner, its entry in the owner's list, digest of its key or '', name and name of its life.
local id, name = ARGV[1], ARGV[6]
local old = call('GET', tag .. 'r:' .. id)
if not old then
  return { 'gone' }
end
if header(old) ~= ARGV[2] then
  return { 'conflict' }
end
call('UNLINK', tag .. 'r:' .. id, tag .. 'e:' .. name, tag .. 'i:' .. name, tag .. 'o:' .. name)
call('ZREM', tag .. 'expiry', id)
call('ZREM', tag .. 'own:' .. ARGV[3], ARGV[4])
if ARGV[5] ~= '' then
  local known = call('HMGET', tag .. 'k:' .. ARGV[5], 'r', 'v')
  if known[1] == id and (known[2] or '') == ARGV[7] then
    call('UNLINK', tag .. 'k:' .. ARGV[5])
  end
end
return { 'ok' }
