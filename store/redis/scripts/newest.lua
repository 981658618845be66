-- The newest messages of channels of which less was received, or which have lost
-- their end: less is there than was seen, or another event in the place of one.
-- ARGV, for each: channel, offset received, offset and token of an event seen (0: none; '': not known).
-- Answers, for those: index, offset, event ('': it is gone), whether the end is lost.
local answer = {}
for i = 1, #ARGV, 4 do
  local channel, received, seen, token = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
  local feed, name = string.sub(channel, 1, 8) ~= 'request:', string.sub(channel, 9)
  local top, newest, event = 0, nil, nil
  if feed then
    top = tonumber(call('GET', tag .. 't:' .. channel) or '0')
    event = token ~= '' and seen <= top and call('LINDEX', tag .. 'g:' .. channel, -1 - 2 * (top - seen))
  else
    newest = newest_of(name)
    if newest then
      top = sequence_of(newest)
    else
      local entry = call('XREVRANGE', tag .. 'e:' .. name, '+', '-', 'COUNT', 1)[1]
      if entry then
        top, newest = tonumber(string.match(entry[1], '^%d+')), entry[2][#entry[2]]
      end
    end
    event = token ~= '' and own(name, seen)
  end
  local lost = top < seen or event and event ~= '' and string.sub(event, 1, 16) ~= token
  if lost or top > received then
    newest = newest or call('LINDEX', tag .. 'g:' .. channel, -1) or ''
    local n = #answer
    answer[n + 1], answer[n + 2] = (i - 1) / 4, digits(top)
    answer[n + 3], answer[n + 4] = newest, lost and '1' or '0'
  end
end
return answer
