-- Appends to a stream, and stores what is known of it then, if it has not been changed meanwhile: see streamappend.go. Of an output, too, only if its
-- request has not, whose record says whether the attempt may.
-- Of more bytes than most_published it is published only that there are more.
local queued = false
local function count() end

-- name: of the stream; expected: the token of what is known of it, '' if it is not there; value: what is known of it then; due: when its time runs out, in µs,
-- '' if it does not; owner: who takes its bytes, and most: how many he may take, 0: any; head: of what is published, '' for nothing; body: its bytes;
-- sums: of the chunks of all its bytes that these have made full; last: '1' if it is closed then; id, fence: of an output, the request and the token of its record; record: what that is from now
-- on, if it changes.
local function task(name, expected, value, due, owner, most, head, body, sums, last, id, fence, record)
  local key = tag .. 'y:' .. name
  local written = call('GETRANGE', key, '0', '15')
  if written ~= expected then
    local old = call('GET', key) or ''
    if string.find(string.match(old, '^[^\n@]*'), string.sub(value, 1, 16), 1, true) then
      return 1 -- the answer to the first time was lost
    end
    return { 'conflict', old }
  end
  if id and call('GETRANGE', tag .. 'r:' .. id, '0', '15') ~= fence then
    return { 'fenced', call('GET', tag .. 'r:' .. id) or '' }
  end
  local size = #body
  if size > 0 then
    local _, stored = use(owner, '0', digits(size), '0') -- the first write
    if most ~= '0' and stored > tonumber(most) then
      use(owner, '0', digits(-size), '0')
      unused(owner)
      return { 'quota', digits(stored) }
    end
    call('APPEND', tag .. 'd:' .. name, body)
  end
  call('SET', key, value)
  if record then
    call('SET', tag .. 'r:' .. id, record)
  end
  if sums ~= '' then
    call('APPEND', tag .. 'z:' .. name, sums)
  end
  if last == '1' then
    local length = call('STRLEN', tag .. 'd:' .. name)
    if length > 0 and length <= trimmed then
      call('SET', tag .. 'd:' .. name, call('GET', tag .. 'd:' .. name))
    end
  end
  if due ~= '' then
    call('ZADD', tag .. 'y:due', due, name)
  end
  if size > most_published then
    call(publish, tag .. 'b:' .. name, head)
  elseif head ~= '' then
    call(publish, tag .. 'b:' .. name, head .. body)
  end
  return 1
end
