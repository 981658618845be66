-- Reads a channel. ARGV: 'h:' and the name of the request or 'g:' and the feed, the offset after
-- which to begin, limit, most bytes. Answers the top, whether the channel has ended there, the
-- offset behind which a feed began ('0': it does not matter), and each event behind its offset; ''
-- in the place of one that was forgotten. Of a feed of which nothing is to be read, by a limit of 0,
-- it answers the newest event: who goes on behind the top knows by that what stood there.
local kind, name = string.sub(ARGV[1], 1, 2), string.sub(ARGV[1], 3)
local after, limit, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local list = tag .. ARGV[1]
local length = call('LLEN', list) / 2
local answer, size, full = { '0', '0', '0' }, 0, false
local newest = kind == 'h:' and newest_of(name) or nil

-- Adds an event unless that is too much.
local function add(offset, event)
  size = size + #event
  if limit <= 0 or size > most and #answer > 3 then
    full = true
    return
  end
  local n = #answer
  answer[n + 1], answer[n + 2] = digits(offset), event
  after, limit = offset, limit - 1
end

-- Adds events of the list, which ends with top; one is at 0 or 1 of its two places.
local function take(top, at)
  after = math.max(after, top - length)
  while after < top and limit > 0 and not full do
    local count = math.min(limit, 16)
    local from = 2 * (after - (top - length))
    local page = call('LRANGE', list, from, from + 2 * count - 1)
    if #page == 0 then
      return
    end
    for i = 1, #page, 2 do
      if not full then
        local event = page[i + at]
        add(after + 1, at == 0 and event == '' and newest or event)
      end
    end
  end
end

if kind == 'g:' then
  local top = tonumber(call('GET', tag .. 't:' .. name) or '0')
  answer[1] = digits(top)
  if length > 0 and call('LINDEX', list, 0) == '' then -- it began behind that
    local begin = top - length + 1
    answer[3] = digits(begin)
    if after < begin then
      after = begin
    end
  end
  if limit == 0 and length > 0 then
    after, limit = top - 1, 1
  end
  take(top, 1)
  return answer
end

local top = newest and sequence_of(newest)
local from, fields = '(' .. ARGV[2], nil
if not newest or after < top - length then -- up to layout 3 events stood in a stream
  local stream = tag .. 'e:' .. name
  if not newest then
    local entry = call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if not entry then
      return answer
    end
    top, fields = tonumber(string.match(entry[1], '^%d+')), entry[2]
  end
  while limit > 0 and not full do
    local count = math.min(limit, 16)
    local page = call('XRANGE', stream, from, '+', 'COUNT', count)
    for _, entry in ipairs(page) do
      if not full then
        add(tonumber(string.match(entry[1], '^%d+')), entry[2][#entry[2]])
      end
      from = '(' .. entry[1]
    end
    if #page < count then
      break
    end
  end
end
answer[1] = digits(top)
if newest then
  answer[2] = ends(newest) and '1' or '0'
  take(top, 0)
elseif #fields == 6 then -- of layout 1
  answer[2] = fields[4]
else
  answer[2] = ends(fields[2]) and '1' or '0'
end
return answer
