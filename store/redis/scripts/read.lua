-- Reads a channel. ARGV: 'e:' and the id or 'f:' and the feed, the offset after
-- which to begin, limit, most bytes. Answers the top, whether the channel has ended
-- there, and each event behind its offset.
local stream, limit, most = tag .. ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local top, ended = nil, '0' -- a feed never ends
if string.sub(ARGV[1], 1, 2) == 'f:' then
  top = call('GET', tag .. 't:' .. string.sub(ARGV[1], 3)) or '0'
else
  local newest = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if newest then
    top, ended = newest[1], ends(newest) and '1' or '0'
  else
    top = '0'
  end
end
local answer, size, from = { top, ended }, 0, '(' .. ARGV[2]
while limit > 0 do
  local want = math.min(limit, 16)
  local page = call('XRANGE', stream, from, '+', 'COUNT', want)
  for _, entry in ipairs(page) do
    local event = entry[2][#entry[2]]
    size = size + #event
    if size > most and #answer > 2 then
      return answer
    end
    local n = #answer
    answer[n + 1], answer[n + 2] = entry[1], event
    from = '(' .. entry[1]
  end
  if #page < want then
    break
  end
  limit = limit - want
end
return answer
