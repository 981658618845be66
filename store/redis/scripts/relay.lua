-- Appends what another partition's outbox holds to the feeds of this one. What has
-- been relayed before is skipped: an outbox is read from its oldest entry on.
-- ARGV: time ahead, the other partition; id, channel, event and hook of each.
local function numbers(entry)
  local tick, rank = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(tick), tonumber(rank)
end
local tick_done, rank_done = numbers(call('HGET', tag .. 'relayed', ARGV[2]) or '0-0')
local now, last = digits(time(ARGV[1])), nil
for i = 3, #ARGV, 4 do
  local its_tick, rank = numbers(ARGV[i])
  if its_tick > tick_done or (its_tick == tick_done and rank > rank_done) then
    local channel, event = ARGV[i + 1], ARGV[i + 2]
    local of_topic = string.sub(channel, 1, 6) == 'topic:'
    append(channel, event, now)
    hand_on(of_topic and channel or nil, not of_topic and channel or nil, event, now, ARGV[i + 3])
    last = ARGV[i]
  end
end
count()
if last then
  call('HSET', tag .. 'relayed', ARGV[2], last)
end
return { 'ok' }
