-- Forgets a request that has not been changed meanwhile.
-- ARGV: id, expected token, owner, its entry in the owner's list, digest of its key or '', name and name of its life, the feeds of its owner
-- and topic, '' for one that is in another partition or that it has not; how much less its owner takes: open requests, bytes, and requests
-- that wait, '' if it was not counted; of one whose record is damaged, which may not have ended: that, and what there is of it in pending.
local id, name = ARGV[1], ARGV[6]
local old = call('GET', tag .. 'r:' .. id)
if not old then
  return { 'gone' }
end
if ARGV[13] then
  if old ~= ARGV[13] then
    return { 'conflict' }
  end
elseif header(old) ~= ARGV[2] then
  return { 'conflict' }
end
local output = 'output:' .. name
local appended = call('STRLEN', tag .. 'd:' .. output)
local events = call('LRANGE', tag .. 'h:' .. name, 0, -1)
call('UNLINK', tag .. 'r:' .. id, tag .. 'h:' .. name, tag .. 'e:' .. name, tag .. 'i:' .. name, tag .. 'o:' .. name, tag .. 'a:' .. name,
  tag .. 'y:' .. output, tag .. 'd:' .. output, tag .. 'z:' .. output) -- first: a server without memory refuses what follows if it is
-- In feeds its events leave their places empty, so that offsets stay contiguous. Those that have
-- left its own channel before are not found here: who reads a feed asks whether the request is
-- there, see told.
local tops, lengths = {}, {}
local function wipe(channel, place)
  if channel == '' or place == '' then
    return
  end
  if not tops[channel] then
    tops[channel] = tonumber(call('GET', tag .. 't:' .. channel) or '0')
    lengths[channel] = call('LLEN', tag .. 'g:' .. channel) / 2
  end
  local back = tops[channel] - place
  if back >= 0 and back < lengths[channel] then
    call('LSET', tag .. 'g:' .. channel, -1 - 2 * back, '')
  end
end
for i = 2, #events, 2 do
  local of_owner, of_topic = string.match(events[i], '^(%d*) ?(%d*)$')
  wipe(ARGV[8], of_owner)
  wipe(ARGV[9], of_topic)
end
call('ZREM', tag .. 'expiry', id)
if ARGV[13] then
  unlist('made', id)
  unlist('dead', id)
else
  local _, _, _, queue = header(old)
  local route = string.sub(queue, 1, -3)
  unlist('made', id, route)
  if status_of(old) == 'f' then
    unlist('dead', id, route)
  end
end
if ARGV[13] then
  if call('ZREM', tag .. 'processing', id) == 1 and string.sub(old, 17, 17) == 'w' then
    call('HINCRBY', tag .. 'stand', 'w' .. string.match(old, '^([^%z]*)', 50), '-1')
  end
  for i = 14, #ARGV do
    call('ZREM', tag .. 'pending', ARGV[i])
  end
end
call('ZREM', tag .. 'own:' .. ARGV[3], ARGV[4])
if ARGV[5] ~= '' then
  local known = call('HMGET', tag .. 'k:' .. ARGV[5], 'r', 'v')
  if known[1] == id and (known[2] or '') == ARGV[7] then
    call('UNLINK', tag .. 'k:' .. ARGV[5])
  end
end
if ARGV[3] == '' then -- of what is damaged it may not be known whose it is
  appended = 0
end
if appended > 0 then
  use(ARGV[3], '0', digits(-appended), '0')
end
if ARGV[10] ~= '' then
  use(ARGV[3], ARGV[10], ARGV[11], ARGV[12])
end
if appended > 0 or ARGV[10] ~= '' then
  unused(ARGV[3])
end
return { 'ok' }
