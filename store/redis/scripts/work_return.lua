-- Puts entries back that a process has taken. ARGV: its lease, how (see put_back), how often one may be lost, time ahead; the entries.
local held, limit, now = tag .. 'q:h:' .. ARGV[1], tonumber(ARGV[3]), time(ARGV[4])
begin()
local back = 0
for i = 5, #ARGV do
  local again = call('HGET', held, ARGV[i])
  if again then -- else its lease has run out, and others have it
    call('HDEL', held, ARGV[i])
    put_back(ARGV[i], again, ARGV[2], limit, now)
    back = back + 1
  end
end
load()
return { 'ok', back }
