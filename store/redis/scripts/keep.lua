-- Keeps a value under a name unless there is one. ARGV: name, value. Answers the one that is there.
local key = tag .. ARGV[1]
local known = call('GET', key)
if not known then
  call('SET', key, ARGV[2])
end
return { known or ARGV[2] }
