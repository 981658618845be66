-- Appends what another partition's outbox holds to the feeds of this one. What has
-- been relayed before is skipped: an outbox is read from its oldest entry on.
-- ARGV: time ahead, the other partition, publish, keep, chunk, ttl; id, channel, event and hook of each.
local feed = { publish = ARGV[3], keep = tonumber(ARGV[4]), chunk = tonumber(ARGV[5]), ttl = ARGV[6] }
local function numbers(entry)
  local tick, rank = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(tick), tonumber(rank)
end
local tick_done, rank_done = numbers(call('HGET', tag .. 'relayed', ARGV[2]) or '0-0')
local now, last = time(ARGV[1]), nil
for i = 7, #ARGV, 4 do
  local its_tick, rank = numbers(ARGV[i])
  if its_tick > tick_done or (its_tick == tick_done and rank > rank_done) then
    local topic, owner = named(ARGV[i + 1])
    append(ARGV[i + 1], ARGV[i + 2], now, feed)
    hand_on(topic, owner, ARGV[i + 2], now, feed, ARGV[i + 3])
    last = ARGV[i]
  end
end
if last then
  call('HSET', tag .. 'relayed', ARGV[2], last)
end
return { 'ok' }
