-- Scans the deliveries of an endpoint, newest first.
-- ARGV: time ahead, owner, endpoint, highest order, state or '', type or '', limit, how many to scan.
-- Answers: order of the last one that was scanned, whether there may be more, those that were found.
local e, now = endpoint(ARGV[3], ARGV[2]), time(ARGV[1])
if not e then
  return { 'gone' }
end
local highest, state, type, limit, most = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local found, scanned, last = {}, 0, '0'
while true do
  local page = call('ZREVRANGEBYSCORE', key_of(e, 'log'), highest, '-inf', 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #page, 2 do
    if scanned == most or #found == limit then
      return { 'ok', last, 1, found }
    end
    scanned, last = scanned + 1, page[i + 1]
    local d = shown(e, page[i], now)
    if (state == '' or d[2] == state) and (type == '' or d[4] == type) then
      found[#found + 1] = d
    end
  end
  if #page < 200 then
    return { 'ok', last, 0, found }
  end
  highest = '(' .. last
end
