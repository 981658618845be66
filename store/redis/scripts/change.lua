-- Stores a request as it is after a change, if it has not been changed meanwhile. Lua hashes every string that it makes, byte by
-- byte, so of what is long only that is made which is needed: the record comes whole, and of the old one the header is read.
local now = ARGV[1]

-- An argument, unless it stands there only because another one comes behind it.
local function given(argument) return argument ~= '' and argument or nil end

-- Tells who follows the output of a request that it is closed (e), or open again (o): with what is known of it, which is nothing if nobody has appended to it.
local function tell_output(what, name)
  local key = 'output:' .. name
  if has_subscribers(key) then
    call(publish, tag .. 'b:' .. key, what .. (call('GET', tag .. 'y:' .. key) or ''))
  end
end

-- name: of this life of the id; sequence: nil: no event. What mostly is not given comes last: topic, the feed; expires, if that has changed; ended: ttl in ms, if it has; stage, output:
-- the result, or the answers, by name or itself; cancels: channel that tells of a cancellation, if one was asked for; hook: what is named of webhooks, see deliver;
-- user: the request's owner, if it takes more or less from now on: open requests, bytes, and requests that wait, opened, stored and waits; slot: see slots.lua; answers: there are
-- some, 2: and they are what comes as a value here; died: when it failed; direct: it is started by one who did not take it from the queue here;
-- working: see workingOf; of what waits again, when it is due, in µs, if
-- that is later and the work is queued here; has_output: of what has ended: something was appended to its output.
local function task(id, name, expected, record, sequence, owner, topic, expires, ended, stage, cancels, hook, user, opened, stored, waits, slot, answers, died, direct, working, has_output, output)
  local token, status, ticket, queue = header(record) -- ticket and queue are those of the old one, too, if it is the expected one
  sequence, topic, expires, ended, stage, cancels = given(sequence), given(topic), given(expires), given(ended), given(stage), given(cancels)
  slot = given(slot)
  local key = tag .. 'r:' .. id
  local old = call('GETRANGE', key, '0', '16') -- token and status; numbers as strings, or Lua would print them
  if old == '' then
    return { 'gone' }
  end
  local written, was = string.sub(old, 1, 16), status_of(old)
  if written ~= expected then
    if written == token then
      return 1 -- the answer to the first time was lost
    end
    if sequence then
      local mine = own(name, tonumber(sequence))
      if mine and string.sub(mine, 1, 16) == token then
        return 1 -- likewise, and others came after it
      end
    end
    local newer = call('GET', key)
    local _, _, _, its_queue = header(newer)
    return { 'conflict', now, newer, behind(its_queue) }
  end
  if stage and call('EXISTS', tag .. 's:' .. stage) == 0 then
    return { 'unstaged' }
  end
  local redriven = was == 'f' and status == 'p'
  if redriven and call('EXISTS', tag .. 'i:' .. name) == 0 then
    return { 'gone' } -- Redis is about to drop all of it
  end
  local has, freed
  if slot and string.byte(slot) == 115 then -- s: it needs one to start
    has, freed = slots(slot, name, queue, ticket)
    if not has then
      return { 'parked' }
    end
    slot = nil
  end

  if redriven and call('LINDEX', tag .. 'h:' .. name, -2) == '' then
    call('LSET', tag .. 'h:' .. name, -2, call('GET', key)) -- the event of its end is not its record any more
  end
  if not ended then
    call('SET', key, record)
  else
    call('SET', key, record, 'PX', ended)
  end
  if given(user) then
    use(user, opened, stored, waits)
  end
  if was ~= status then
    if was == 'w' or status == 'w' then
      call('HINCRBY', tag .. 'stand', 'w' .. string.sub(queue, 1, -3), was == 'w' and '-1' or '1')
    end
    if was == 'p' then
      call('ZREM', tag .. 'pending', queue .. ticket .. id)
      if queued and #queue > 2 and (status ~= 'r' or given(direct)) then
        dequeue(queue, ticket .. name)
      end
    elseif status ~= 'w' then
      call('ZREM', tag .. 'processing', id)
    end
    if status == 'p' then
      ticket = string.format('%016d', tick(now))
      call('SETRANGE', key, 17, ticket)
      call('SET', tag .. 'clock', ticket)
      call('ZADD', tag .. 'pending', '0', queue .. ticket .. id)
    elseif status == 'r' then
      call('ZADD', tag .. 'processing', given(working) or '0', id)
    elseif status == 'w' then
      call('ZADD', tag .. 'processing', '0', id)
    end
    if given(died) then
      local route = string.sub(queue, 1, -3)
      call('ZADD', tag .. 'dead:' .. route, died, id)
      call('ZADD', tag .. 'dead', '0', route)
    end
    if redriven then
      local route = string.sub(queue, 1, -3)
      call('ZREM', tag .. 'dead:' .. route, id)
      if call('EXISTS', tag .. 'dead:' .. route) == 0 then
        call('ZREM', tag .. 'dead', route)
      end
      for _, kind in ipairs({ 'h:', 'i:', 'a:', 'y:output:', 'd:output:', 'z:output:' }) do
        call('PERSIST', tag .. kind .. name)
      end
      tell_output('o', name)
    end
  end
  if slot then
    has, freed = slots(slot, name, queue, ticket)
  end
  if queued and status == 'p' and was ~= 'p' and (has or not slot or string.byte(slot) ~= 97) then -- 97, a: and it waits for one
    if given(working) then
      postpone(queue, ticket .. name, working)
    else
      enqueue(queue, ticket .. name, '')
    end
  end
  if expires then
    call('ZADD', tag .. 'expiry', expires, id)
  end
  if stage or output then
    local body = tag .. (answers == '2' and 'a:' or 'o:') .. name
    if stage then
      call('RENAME', tag .. 's:' .. stage, body)
    elseif not ended then
      call('SET', body, output)
    else
      call('SET', body, output, 'PX', ended)
    end
    if stage and ended then
      call('PEXPIRE', body, ended)
    elseif stage then
      call('PERSIST', body)
    end
  end
  if sequence then
    emit(name, sequence, record, now, hook or '', owner, topic, ended)
    local n = tonumber(sequence)
    if n > keep and n % chunk == 0 then
      call('LTRIM', tag .. 'h:' .. name, -2 * keep, -1)
    end
  end
  if ended then
    call('PEXPIRE', tag .. 'h:' .. name, ended)
    call('PEXPIRE', tag .. 'i:' .. name, ended)
    if given(answers) then
      call('PEXPIRE', tag .. 'a:' .. name, ended)
    end
    if given(has_output) then
      local bytes = tag .. 'd:output:' .. name
      if was ~= status and call('STRLEN', bytes) <= trimmed then
        call('SET', bytes, call('GET', bytes)) -- a string that was appended to has room for as much again
      end
      for _, kind in ipairs({ 'y', 'd', 'z' }) do
        call('PEXPIRE', tag .. kind .. ':output:' .. name, ended)
      end
    end
    if was ~= status then
      tell_output('e', name)
    end
  end
  if cancels then
    call('PUBLISH', cancels, name)
  end
  if slot and (freed[1] or string.byte(slot) == 97) then -- nothing to be told of otherwise
    table.insert(freed, 1, has and '1' or '0')
    table.insert(freed, 1, 'slots')
    return freed
  end
  return 1
end
