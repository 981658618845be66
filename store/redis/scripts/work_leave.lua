-- Ends the lease of a process that ends, or begins anew. ARGV: the lease, its name, the routes of which it may have waited for work, each behind a space.
begin()
local back = release(ARGV[1], 'back', 0, 0)
call('HDEL', tag .. 'q:on', ARGV[1])
for route in string.gmatch(ARGV[3], '[^ ]+') do
  call('SREM', tag .. 'q:w:' .. route, ARGV[2])
end
load()
return { 'ok', back }
