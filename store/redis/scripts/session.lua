-- Notes that a session of a worker calls. A new one becomes the newest. ARGV: worker, session, how many are kept, for how many ms,
-- the channel that tells of a new one, how many workers of one owner are kept here. Answers its number and that of the newest.
local key = tag .. 'worker:' .. ARGV[1]
local number = tonumber(call('ZSCORE', key, ARGV[2]) or nil)
local newest = tonumber(call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) or 0
local now = time(0)
if not number then
  number = math.max(newest + 1, now) -- so that numbers rise on when the others were forgotten
  newest = number
  call('ZADD', key, digits(number), ARGV[2])
  call('ZREMRANGEBYRANK', key, 0, -1 - ARGV[3])
  call('PUBLISH', ARGV[5], digits(number) .. ' ' .. ARGV[1])
end
call('PEXPIRE', key, ARGV[4])

-- Those of the owner by when they called, to a minute. What was noted by a version that did not count expires by itself. A server without
-- memory refuses to note more, and hands out work all the same.
local workers = tag .. 'workers:' .. string.match(ARGV[1], '^[^%z]*')
local last = tonumber(call('ZSCORE', workers, ARGV[1]) or nil)
if not last or now - last > 60000000 then
  if redis.pcall('ZADD', workers, digits(now), ARGV[1]) == 1 then
    call('ZREMRANGEBYSCORE', workers, '-inf', digits(now - ARGV[4] * 1000))
    while call('ZCARD', workers) > tonumber(ARGV[6]) do
      call('DEL', tag .. 'worker:' .. call('ZPOPMIN', workers)[1])
    end
  end
  call('PEXPIRE', workers, ARGV[4])
end
return { 'ok', digits(number), digits(newest) }
