-- The newest messages of channels of which less has been heard, or which have lost
-- their end: less is there than was seen, or another event in the place of one.
-- ARGV, for each: channel, offset heard, offset and token of an event seen (0: none; '': not known).
-- Answers, for those: index, offset, event, whether the end is lost.
local answer = {}
for i = 1, #ARGV, 4 do
  local channel, heard, seen, token = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 3]
  local feed = string.sub(channel, 1, 8) ~= 'request:'
  local stream = tag .. (feed and 'f:' .. channel or 'e:' .. string.sub(channel, 9))
  local newest, top
  if feed then
    top = tonumber(call('GET', tag .. 't:' .. channel) or '0')
  else
    newest = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    top = newest and tonumber(string.match(newest[1], '^%d+')) or 0
  end
  local lost = top < seen
  if not lost and token ~= '' then
    local event = call('XRANGE', stream, digits(seen) .. '-0', digits(seen) .. '-0')[1]
    lost = event and string.sub(event[2][#event[2]], 1, 16) ~= token or false
  end
  if lost or top > heard then
    newest = newest or call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    local n, fields = #answer, newest and newest[2]
    answer[n + 1], answer[n + 2] = (i - 1) / 4, digits(top)
    answer[n + 3], answer[n + 4] = fields and fields[#fields] or '', lost and '1' or '0'
  end
end
return answer
