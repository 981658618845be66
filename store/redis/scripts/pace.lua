-- Adds a sample to how fast something goes: lifecycle.Pace.After. ARGV: name, how many, seconds that they took, since when and now in µs, how many
-- make up a mean at least, for how many ms it is kept.
local key = tag .. 'n:' .. ARGV[1]
local n, since, now, least = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local count, took, busy, at = string.match(call('GET', key) or '', '^(%S+) (%S+) (%S+) (%d+)$')
count, took, busy, at = tonumber(count) or 0, tonumber(took) or 0, tonumber(busy) or 0, tonumber(at) or 0
local among = least
if busy > 0 then
  among = math.max(among, 2 * took / busy)
end
local keep = math.max(1 - n / among, 1 - 1 / least)
now = math.max(now, at)
call('SET', key, string.format('%.6f %.6f %.6f %d', count * keep + n, took * keep + ARGV[3],
  busy * keep + math.max(now - math.max(at, since), 0) / 1000000, now), 'PX', ARGV[7])
return { 'ok' }
