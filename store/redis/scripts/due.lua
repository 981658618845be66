-- What a sweeper has to do in a partition.
-- ARGV: time ahead, limit, age of feeds in µs, number of partitions, retention of webhook deliveries in µs.
local now = time(ARGV[1])
local aging = call('ZCOUNT', tag .. 'aging', '-inf', digits(now - ARGV[3]))
local outboxes = {}
if ARGV[4] ~= '1' then
  for i = 0, ARGV[4] - 1 do
    if call('XLEN', tag .. 'x:' .. i) > 0 then
      outboxes[#outboxes + 1] = i
    end
  end
end
local kept = digits(now - ARGV[5])
local forgotten = call('ZCOUNT', tag .. 'w:settled', '-inf', kept) + call('ZCOUNT', tag .. 'w:once', '-inf', kept) + call('EXISTS', tag .. 'w:gone')
return { digits(now), call('ZRANGEBYSCORE', tag .. 'expiry', '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, ARGV[2]), aging, outboxes, forgotten,
  call('ZRANGEBYSCORE', tag .. 'y:due', '-inf', digits(now), 'WITHSCORES', 'LIMIT', 0, ARGV[2]) }
