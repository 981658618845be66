-- Notes that a process is there. ARGV: its name, what it says of itself ('': it leaves), for how many ms that holds.
local now, name = time(0), ARGV[1]
call('ZREMRANGEBYSCORE', tag .. 'present', '-inf', digits(now)) -- what those said has gone by itself
if ARGV[2] == '' then
  call('ZREM', tag .. 'present', name)
  call('UNLINK', tag .. 'present:' .. name)
else
  call('SET', tag .. 'present:' .. name, ARGV[2], 'PX', ARGV[3])
  call('ZADD', tag .. 'present', digits(now + 1000 * ARGV[3]), name)
  -- As long as that of whoever stays longest.
  call('PEXPIREAT', tag .. 'present', digits(call('ZREVRANGE', tag .. 'present', 0, 0, 'WITHSCORES')[2] / 1000 + 1))
end
return { 'ok' }
