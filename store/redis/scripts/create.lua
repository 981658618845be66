-- Stores a new request with everything that belongs to it.
local now = ARGV[1]

-- name: of this life of the id; position: '': found here; rest: of the record, behind it. hook: what is named of webhooks,
-- see deliver. open, stored: what it counts for; most_open, most_stored: what its owner may take, 0: any. feeds: of its owner, and of its topic, if it has one.
local function task(id, name, token, queue, position, rest, expires, owner, member, body, stage, digest, fingerprint, locked, replaces, key_ttl,
  claim, open, stored, most_open, most_stored, hook, ...)
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

  local opened, bytes = use(owner, open, stored) -- the first write
  if most_open ~= '0' and opened and opened > tonumber(most_open) or most_stored ~= '0' and bytes and bytes > tonumber(most_stored) then
    local used_open, used_bytes = use(owner, digits(-open), digits(-stored))
    unused(owner)
    return { 'quota', used_open or 0, used_bytes or 0 }
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
  call('ZADD', tag .. 'expiry', expires, id)
  call('ZADD', tag .. 'pending', '0', queue .. ticket .. id)
  if digest ~= '' then
    call('DEL', tag .. 'k:' .. digest)
    call('HSET', tag .. 'k:' .. digest, 'r', id, 'v', string.sub(name, #id + 2), 'f', fingerprint, 'l', locked, 't', token)
    call('PEXPIRE', tag .. 'k:' .. digest, key_ttl)
  end
  emit(name, '1', record, now, hook, ...)
  return { 'ok', position }
end
