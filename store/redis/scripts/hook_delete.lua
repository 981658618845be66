-- Forgets an endpoint. Its deliveries follow, see hook_purge. ARGV: owner, id.
local e = endpoint(ARGV[2], ARGV[1])
if not e then
  return { 'gone' }
end
drop(e)
return { 'ok' }
