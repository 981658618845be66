-- Lists the endpoints of all owners, newest first. ARGV: the ticket from which on, as a range takes it; limit. Answers of each its ticket and
-- what it is.
local found = {}
local ids = call('ZREVRANGEBYSCORE', tag .. 'w:all', ARGV[1], '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #ids, 2 do
  found[#found + 1] = { ids[i + 1], call('HMGET', tag .. 'w:e:' .. ids[i], 'json', 'version', 'created', 'updated') }
end
return { 'ok', found }
