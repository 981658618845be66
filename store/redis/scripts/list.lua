-- Scans an owner's requests, newest first.
-- ARGV: owner, highest serial, route, topic, status letter, limit, how many to scan, lowest serial.
local owner, highest, route, topic, status, lowest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[8]
local limit, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local found, scanned, last, more = {}, 0, '', 0
while true do
  local page = call('ZREVRANGEBYSCORE', tag .. 'own:' .. owner, highest, lowest, 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #page, 2 do
    if scanned == most or #found == limit * 4 then
      return { last, 1, found }
    end
    scanned, last = scanned + 1, page[i + 1]
    -- the parts of parts.OwnerEntry
    local id, its_route, its_topic = string.match(page[i], '^(.-)%z(.-)%z(.*)$')
    if (route == '' or route == its_route) and (topic == '' or topic == its_topic) then
      local record = call('GET', tag .. 'r:' .. id)
      if not record or string.sub(record, 34, 49) ~= string.format('%016d', last) then
        redis.pcall('ZREM', tag .. 'own:' .. owner, page[i]) -- it reached the end of its safety time; the id may be another one's now
      elseif status == '' or status == status_of(record) then
        local n = #found
        found[n + 1], found[n + 2], found[n + 3] = id, last, record
        found[n + 4] = status_of(record) == 'p' and ahead_of(record, id) or 0
      end
    end
  end
  if #page == 200 then
    highest = '(' .. last
  elseif lowest == '-inf' then
    return { last, 0, found }
  else
    -- What was imported from the embedded store has serials that are no times, and below all those.
    lowest = '-inf'
    if tonumber(string.match(highest, '%d+')) > 1000000000000 then
      highest = '1000000000000'
    end
  end
end
