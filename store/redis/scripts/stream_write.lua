-- Changes what is known of streams of one partition, all at once, if none of them has been changed meanwhile.
-- ARGV: a token that must not be void, '' for none, and for each stream ten: name; the token of what is known of it, '' if it is not there;
-- what is known of it then, '' if it goes; when its time runs out, in µs, '' if it does not; its owner, how many bytes more that one has stored then, and may have, 0: any;
-- what is published, '' for nothing; the bytes that it begins with, and their sums.
local size = 10
for i = 2, #ARGV, size do
  local key, expected, value = tag .. 'y:' .. ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if call('GETRANGE', key, '0', '15') ~= expected then
    local old = string.match(call('GET', key) or '', '^[^\n@]*')
    if value ~= '' and string.find(old, string.sub(value, 1, 16), 1, true) then
      return { 'ok' } -- the answer to the first time was lost
    end
    return { 'conflict' }
  end
end
if ARGV[1] ~= '' and call('EXISTS', tag .. 'v:' .. ARGV[1]) == 1 then
  return { 'void' }
end

local function tell(i)
  if ARGV[i + 7] ~= '' then
    call(publish, tag .. 'b:' .. ARGV[i], ARGV[i + 7])
  end
end

-- What goes goes first: a server without memory refuses what follows if it is.
for i = 2, #ARGV, size do
  local name, value, owner, more = ARGV[i], ARGV[i + 2], ARGV[i + 4], ARGV[i + 5]
  if value == '' then
    call('UNLINK', tag .. 'y:' .. name, tag .. 'd:' .. name, tag .. 'z:' .. name)
    call('ZREM', tag .. 'y:due', name)
    if more ~= '0' then
      use(owner, '0', more, '0')
      unused(owner)
    end
    tell(i)
  end
end
for i = 2, #ARGV, size do
  local name, value, due, owner, more, most, body, sums = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], ARGV[i + 8], ARGV[i + 9]
  if value ~= '' then
    local _, stored = use(owner, '0', more, '0')
    if most ~= '0' and stored and stored > tonumber(most) then -- of what is made, which comes alone or before the source that it is made of
      use(owner, '0', digits(-more), '0')
      unused(owner)
      return { 'quota', digits(stored) }
    end
    if body ~= '' then
      call('SET', tag .. 'd:' .. name, body)
    end
    if sums ~= '' then
      call('SET', tag .. 'z:' .. name, sums)
    end
    call('SET', tag .. 'y:' .. name, value)
    if due ~= '' then
      call('ZADD', tag .. 'y:due', due, name)
    else
      call('ZREM', tag .. 'y:due', name)
    end
    tell(i)
  end
end
return { 'ok' }
