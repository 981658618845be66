-- Removes a note of a batch that has ended, or was never stored, unless it is young or was made anew.
-- ARGV: time ahead, id, when it was noted, how old it must be, both in µs.
local noted = tonumber(call('ZSCORE', tag .. 'batches', ARGV[2]))
if noted == tonumber(ARGV[3]) and noted < time(ARGV[1]) - ARGV[4] then
  call('ZREM', tag .. 'batches', ARGV[2])
end
return { 'ok' }
