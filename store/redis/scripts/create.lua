-- Stores a new request with everything that belongs to it.
local now = ARGV[1]

-- The route that has no room, nil if there is none. Mostly less waits everywhere than may wait on one route.
local function crowded(room, queue)
  local most, rest = string.match(room, '^(%d+)(.*)$')
  most = tonumber(most)
  local all = call('ZCARD', tag .. 'pending')
  if rest == '' then
    return all >= most and behind(string.sub(queue, 1, -2) .. '9') >= most and string.sub(queue, 1, -3) or nil
  end
  for n, route in string.gmatch(rest, ' (%d+) ([^ ]+)') do
    if all + n > most and behind(route .. string.char(0) .. '9') + n > most then
      return route
    end
  end
end

local listed = {} -- routes that are known to be among those of which there are requests; nobody forgets one meanwhile

-- made: when it is created. name: of this life of the id; position: '': found here; rest: of the record, behind it. hook: what is named of webhooks,
-- see deliver. room: how many may wait on its route with it, '' for any number; of a batch that, and for each route how many it brings, and the name.
-- slot: see slots.lua; of what is delayed, d and when it is due, in µs, if the work is queued here. open, stored, waits: what it counts for; most_open, most_stored, most_waiting: what its owner may take, 0: any. feeds: of its owner, and of its topic, if it has one.
local function task(id, name, token, queue, position, rest, made, expires, owner, member, body, stage, digest, fingerprint, locked, replaces, key_ttl,
  claim, open, stored, waits, most_open, most_stored, most_waiting, room, slot, hook, ...)
  local key = tag .. 'r:' .. id
  local old = call('GET', key)
  if old then
    local begin = own(name, 1)
    if header(old) == token or (begin and string.sub(begin, 1, 16) == token) then
      return { 'ok', ahead_of(old, id) } -- the answer to the first time was lost
    end
    return { 'conflict' }
  end
  if claim ~= '' and call('EXISTS', tag .. 'v:' .. claim) == 1 then
    return { 'conflict' } -- too slow: the claim on the key has been taken over
  end
  if digest ~= '' and (call('HGET', tag .. 'k:' .. digest, 't') or '') ~= replaces then
    return { 'conflict' }
  end
  if stage ~= '' and call('EXISTS', tag .. 's:' .. stage) == 0 then
    return { 'unstaged' }
  end
  if room ~= '' then
    local full = crowded(room, queue)
    if full then
      return { 'full', full }
    end
  end

  local opened, bytes, waiting = use(owner, open, stored, waits) -- the first write
  if most_open ~= '0' and opened and opened > tonumber(most_open) or most_stored ~= '0' and bytes and bytes > tonumber(most_stored)
    or most_waiting ~= '0' and waiting and waiting > tonumber(most_waiting) then
    local used_open, used_bytes, used_waiting = use(owner, digits(-open), digits(-stored), digits(-waits))
    unused(owner)
    return { 'quota', used_open or 0, used_bytes or 0, used_waiting or 0 }
  end

  if position == '' then
    position = digits(behind(queue))
  end
  local ticket = string.format('%016d', tick(now)) -- its serial too
  local record = token .. 'p' .. ticket .. ticket .. queue .. '\n' .. position .. rest
  call('SET', key, record)
  call('SET', tag .. 'clock', ticket)
  if stage ~= '' then
    call('RENAME', tag .. 's:' .. stage, tag .. 'i:' .. name)
    call('PERSIST', tag .. 'i:' .. name)
  else
    call('SET', tag .. 'i:' .. name, body)
  end
  call('ZADD', tag .. 'own:' .. owner, ticket, member)
  local route = string.sub(queue, 1, -3)
  call('ZADD', tag .. 'made:' .. route, made, id)
  if not listed[route] then
    call('ZADD', tag .. 'made', '0', route)
    listed[route] = true
  end
  call('ZADD', tag .. 'expiry', expires, id)
  call('ZADD', tag .. 'pending', '0', queue .. ticket .. id)
  local has, freed
  if queued and string.byte(slot) == 100 then -- d
    postpone(queue, ticket .. name, string.sub(slot, 2))
  else
    if slot ~= '' then
      has, freed = slots(slot, name, queue, ticket)
    end
    if queued and has ~= false and route ~= '' then
      enqueue(queue, ticket .. name, '')
    end
  end
  if digest ~= '' then
    call('DEL', tag .. 'k:' .. digest)
    call('HSET', tag .. 'k:' .. digest, 'r', id, 'v', string.sub(name, #id + 2), 'f', fingerprint, 'l', locked, 't', token)
    call('PEXPIRE', tag .. 'k:' .. digest, key_ttl)
  end
  emit(name, '1', record, now, hook, ...)
  if has == false then
    return { 'ok', position, 'parked', unpack(freed) }
  end
  return { 'ok', position }
end
