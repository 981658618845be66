-- Takes slots from requests that are not there any more, or have ended, and gives them to those that wait. ARGV: see slots.lua.
local _, freed = slots(ARGV[1], '', '', '')
if queued then
  load()
end
return { 'ok', freed }
