-- Looks for everybody's requests, newest first, by when they were created, in µs, and then by id, from the last.
-- ARGV: route or '', the place in front of which to begin: time and id; the time from which on they count; topic, status letter, limit, how many to look at.
-- Answers the place at which it has stopped, whether it has, and of each request id, time, record, and how many stand before it.
local its_route, highest, before, lowest = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local topic, status, limit, most = ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local at_most, at_least = tonumber(highest), tonumber(lowest)

-- Whether a place, a time and an id, comes later in the list than another one.
local function older(at, id, than, than_id) return at < than or at == than and id < than_id end

-- Whether a record, of which the beginning is given, is wanted. Of layout 1, which says its topic elsewhere, the reader decides.
local function wanted(head)
  if status ~= '' and status_of(head) ~= status then
    return false
  end
  local its_topic = topic ~= '' and string.match(head, '^[^\n]*\n[^{][^\n]*/([^/\n]*)\n', 50)
  return not its_topic or its_topic == topic
end

-- What of a record has all that wanted looks at.
local function head_of(id) return call('GETRANGE', tag .. 'r:' .. id, '0', '511') end
local function route_of(head) return string.match(head, '^([^%z]*)', 50) end

local found = {}
local function add(id, at, record)
  local n = #found
  found[n + 1], found[n + 2], found[n + 3] = id, at, record
  found[n + 4] = status_of(record) == 'p' and ahead_of(record, id) or 0
end

-- What the index of a status has, if there is one that selects by all that is asked for and it has not too many.
local function few()
  if status == 'p' then
    local from, to = '-', '+'
    if its_route ~= '' then
      from, to = '[' .. its_route .. '\0', '(' .. its_route .. '\1'
    end
    if call('ZLEXCOUNT', tag .. 'pending', from, to) > most then
      return nil
    end
    local ids = call('ZRANGEBYLEX', tag .. 'pending', from, to)
    for i, entry in ipairs(ids) do -- route NUL priority ticket id
      ids[i] = string.sub(entry, string.find(entry, '%z') + 18)
    end
    return ids
  end
  local key
  if status == 'r' or status == 'w' then
    key = tag .. 'processing'
  elseif status == 'f' and its_route ~= '' then
    key = tag .. 'dead:' .. its_route
  end
  return key and call('ZCARD', key) <= most and call('ZRANGE', key, 0, -1)
end

local ids = few()
if ids then
  local places = {}
  for _, id in ipairs(ids) do
    local head = head_of(id)
    if head ~= '' and wanted(head) and (its_route == '' or route_of(head) == its_route) then
      local at = call('ZSCORE', tag .. 'made:' .. route_of(head), id)
      local n = tonumber(at)
      if n and n >= at_least and older(n, id, at_most, before) then
        places[#places + 1] = { n, id, at }
      end
    end
  end
  table.sort(places, function(a, b) return older(b[1], b[2], a[1], a[2]) end)
  for i, place in ipairs(places) do
    if i > limit then
      return { places[limit][3], places[limit][2], 1, found }
    end
    add(place[2], place[3], call('GET', tag .. 'r:' .. place[2]))
  end
  return { '', '', 0, found }
end

local routes = its_route ~= '' and { its_route } or call('ZRANGE', tag .. 'made', 0, -1)
local chunk = math.max(math.ceil(limit / math.max(#routes, 1)), 16)

-- Moves a part to its next place, from which on the list goes. Entries of one time are passed over one by one.
local function peek(part)
  while true do
    if part.i > #part.page then
      if part.ended then
        return nil
      end
      part.page = call('ZREVRANGEBYSCORE', tag .. 'made:' .. part.route, highest, lowest, 'WITHSCORES', 'LIMIT', part.offset, chunk)
      part.i, part.offset, part.ended = 1, part.offset + chunk, #part.page < 2 * chunk
      if #part.page == 0 then
        return nil
      end
    end
    part.id, part.score = part.page[part.i], part.page[part.i + 1]
    part.at, part.i = tonumber(part.score), part.i + 2
    if older(part.at, part.id, at_most, before) then
      return part
    end
  end
end

local parts = {}
for _, route in ipairs(routes) do
  parts[#parts + 1] = peek({ route = route, page = {}, i = 1, offset = 0 })
end
local scanned, last, last_id = 0, '', ''
while #parts > 0 do
  if scanned == most or #found >= limit * 4 then
    return { last, last_id, 1, found }
  end
  local newest = 1
  for i = 2, #parts do
    if older(parts[newest].at, parts[newest].id, parts[i].at, parts[i].id) then
      newest = i
    end
  end
  local part = parts[newest]
  local id = part.id
  scanned, last, last_id = scanned + 1, part.score, id
  local head = head_of(id)
  if head == '' or route_of(head) ~= part.route then
    -- It reached the end of its safety time; the id may be another one's now.
    if redis.pcall('ZREM', tag .. 'made:' .. part.route, id) == 1 then
      part.offset = part.offset - 1
    end
  elseif wanted(head) then
    add(id, part.score, #head < 512 and head or call('GET', tag .. 'r:' .. id))
  end
  if not peek(part) then
    table.remove(parts, newest)
    if call('EXISTS', tag .. 'made:' .. part.route) == 0 then
      redis.pcall('ZREM', tag .. 'made', part.route)
    end
  end
end
return { '', '', 0, found }
