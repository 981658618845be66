-- Removes notes of batches that have ended, or were never stored, unless they are young or were made anew.
-- ARGV: time ahead, how old a note must be in µs; for each id and when it was noted, in µs. Answers how many went.
local before, gone = time(ARGV[1]) - ARGV[2], 0
for i = 3, #ARGV, 2 do
  local noted = tonumber(call('ZSCORE', tag .. 'batches', ARGV[i]))
  if noted and noted == tonumber(ARGV[i + 1]) and noted <= before then
    gone = gone + call('ZREM', tag .. 'batches', ARGV[i])
  end
end
return { 'ok', gone }
