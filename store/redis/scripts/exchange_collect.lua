-- Has events collected for the callback exchange for a time.
-- ARGV: how many at most, for how long in ms. Answers: how many wait, the age of the
-- oldest in ms, how many were dropped.
call('SET', tag .. 'callback', ARGV[1], 'PX', ARGV[2])
local stream = tag .. 'callback:events'
call('PEXPIRE', stream, collected_ttl)
local oldest, age = call('XRANGE', stream, '-', '+', 'COUNT', 1)[1], 0
if oldest then
  age = math.max(0, time(0) / 1000 - tonumber(string.match(oldest[1], '^%d+')))
end
return { call('XLEN', stream), digits(age), call('GET', tag .. 'callback:dropped') or '0' }
