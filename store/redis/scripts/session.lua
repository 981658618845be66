-- Notes that a session of a worker calls. A new one becomes the newest. ARGV: worker, session, how many are kept, for how many ms,
-- the channel that tells of a new one. Answers its number and that of the newest.
local key = tag .. 'worker:' .. ARGV[1]
local number = tonumber(call('ZSCORE', key, ARGV[2]) or nil)
local newest = tonumber(call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) or 0
if not number then
  number = math.max(newest + 1, time(0)) -- so that numbers rise on when the others were forgotten
  newest = number
  call('ZADD', key, digits(number), ARGV[2])
  call('ZREMRANGEBYRANK', key, 0, -1 - ARGV[3])
  call('PUBLISH', ARGV[5], digits(number) .. ' ' .. ARGV[1])
end
call('PEXPIRE', key, ARGV[4])
return { 'ok', digits(number), digits(newest) }
