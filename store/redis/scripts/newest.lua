-- The newest messages of channels of which less has been heard.
-- ARGV: pairs of a channel and the offset heard. Answers: number of the pair, offset, last, event.
local answer = {}
for i = 1, #ARGV, 2 do
  local channel, heard = ARGV[i], tonumber(ARGV[i + 1])
  local feed = string.sub(channel, 1, 8) ~= 'request:'
  local top = 0
  if feed then
    top = tonumber(call('GET', tag .. 't:' .. channel) or '0')
  end
  if not feed or top > heard then
    local stream = feed and 'f:' .. channel or 'e:' .. string.sub(channel, 9)
    local newest = call('XREVRANGE', tag .. stream, '+', '-', 'COUNT', 1)[1]
    local n = #answer
    if newest then
      local offset = string.match(newest[1], '^%d+')
      if tonumber(offset) > heard then
        answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = (i - 1) / 2, offset, newest[2][4], newest[2][6]
      end
    elseif feed then
      answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = (i - 1) / 2, digits(top), '0', ''
    end
  end
end
return answer
