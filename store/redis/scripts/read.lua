-- Reads a channel. ARGV: 'e:' and the id or 'f:' and the feed, the offset after
-- which to begin, limit, most bytes.
local stream, limit, most = tag .. ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local top
if string.sub(ARGV[1], 1, 2) == 'f:' then
  top = call('GET', tag .. 't:' .. string.sub(ARGV[1], 3)) or '0'
else
  local newest = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  top = newest and newest[1] or '0'
end
local answer, size, from = { top }, 0, '(' .. ARGV[2]
while limit > 0 do
  local want = math.min(limit, 16)
  local page = call('XRANGE', stream, from, '+', 'COUNT', want)
  for _, entry in ipairs(page) do
    local event = entry[2][6]
    size = size + #event
    if size > most and #answer > 1 then
      return answer
    end
    local n = #answer
    answer[n + 1], answer[n + 2], answer[n + 3] = entry[1], entry[2][4], event
    from = '(' .. entry[1]
  end
  if #page < want then
    break
  end
  limit = limit - want
end
return answer
