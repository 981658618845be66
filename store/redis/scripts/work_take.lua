-- Takes work for a process. ARGV: its lease, its name, how many entries it is done with, and those; then what it wants, as often as it likes: how many at
-- most, of how many routes, and those. Answers, for each wish, a list: of each piece the entry, how often it was lost ('' if it was never handed out), and
-- the record, if there is one; behind them, by itself, 'more' if there is more to look at now. Where less came than was wanted, and all was looked at,
-- the process is woken when there is more.
local holder, sleeper, done = ARGV[1], ARGV[2], tonumber(ARGV[3])
local held, at = tag .. 'q:h:' .. holder, 4
while done > 0 do
  local n = math.min(done, 1000)
  call('HDEL', held, unpack(ARGV, at, at + n - 1))
  at, done = at + n, done - n
end
if at > #ARGV then
  return { 'ok' }
end
if not call('ZSCORE', tag .. 'q:leases', holder) then
  return { 'lost' }
end

-- The first of one route, or of several: by priority, then by how long it waits.
local function pop(routes, n)
  local taken = {}
  if #routes == 1 then
    local found = call('ZPOPMIN', tag .. 'q:r:' .. routes[1], n)
    for i = 1, #found, 2 do
      taken[#taken + 1] = { routes[1], found[i] }
    end
    return taken
  end
  local heads = {}
  for i, route in ipairs(routes) do
    heads[i] = call('ZRANGE', tag .. 'q:r:' .. route, '0', '0')[1] or false
  end
  while #taken < n do
    local first
    for i = 1, #routes do
      if heads[i] and (not first or heads[i] < heads[first]) then
        first = i
      end
    end
    if not first then
      break
    end
    local key = tag .. 'q:r:' .. routes[first]
    call('ZREM', key, heads[first])
    taken[#taken + 1] = { routes[first], heads[first] }
    heads[first] = call('ZRANGE', key, '0', '0')[1] or false
  end
  return taken
end

-- Whether a request still waits for this entry, or runs by it and the process that ran it has died. redelivered: it was handed out before. Whoever
-- starts what is damaged is told.
local function needed(record, ticket, redelivered)
  if not record then
    return false
  end
  if not string.find(record, '\n', 50, true) then
    return true
  end
  local _, status, its = header(record)
  return its == ticket and (status == 'p' or status == 'r' and redelivered)
end

-- Others wait while this runs: so many are looked at for a wish at most that nobody needs any more.
local patience = 2000

local answer, notes = { 'ok' }, {}
while at <= #ARGV do
  local most, count, routes = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), {}
  for i = 1, count do
    routes[i] = ARGV[at + 1 + i]
  end
  at = at + 2 + count
  local given, n, more, looked = {}, 0, true, 0
  while n < most and more and looked - n < patience do
    local asked = math.min(most - n, 1000)
    local taken = pop(routes, asked)
    looked = looked + #taken
    more = #taken == asked -- what is dropped below makes room for the next ones
    local keys, stored, found = {}, {}, nil
    for i, piece in ipairs(taken) do
      local rest, again = string.match(piece[2], '^(.*)\r(%d+)$')
      rest, again = rest or piece[2], again or ''
      local ticket = string.match(rest, '^%d(%d+)')
      ticket = ticket and #ticket >= 16 and string.sub(ticket, 1, 16) -- names may begin with digits, too
      local name, extra = string.match(rest, '^([^\n]*)(.*)$', 18)
      if not ticket or not name or name == '' then
        bury(piece[1], time(0), 'rejected', piece[1] .. '\0' .. piece[2])
        piece[2] = false
      else
        piece[2], piece[3], piece[4] = piece[1] .. '\0' .. rest, again, ticket
        if extra == '' then
          keys[#keys + 1] = tag .. 'r:' .. string.match(name, '^[^/]*')
          stored[i] = #keys
        end
      end
    end
    if #keys > 0 then
      found = call('MGET', unpack(keys))
    end
    for i, piece in ipairs(taken) do
      local record = stored[i] and found[stored[i]]
      if piece[2] and (not stored[i] or needed(record, piece[4], piece[3] ~= '')) then
        local g, h = #given, #notes
        given[g + 1], given[g + 2], given[g + 3] = piece[2], piece[3], record or ''
        notes[h + 1], notes[h + 2] = piece[2], piece[3]
        n = n + 1
      end
    end
  end
  if n < most and more then
    given[#given + 1] = 'more'
  elseif n < most then
    begin() -- it may be the first that is written, and others are behind it that a server without memory can do
    for _, route in ipairs(routes) do
      call('SADD', tag .. 'q:w:' .. route, sleeper)
    end
  end
  answer[#answer + 1] = given
end
for from = 1, #notes, 1000 do
  call('HSET', held, unpack(notes, from, math.min(from + 999, #notes)))
end
return answer
