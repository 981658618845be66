-- Queues again what was put aside of a route, as far as somebody still needs it and nobody else has done so: what is in the queue, or with somebody, is
-- forgotten here. The rest stays. ARGV: route, how many of the oldest to pass over. Answers how many were looked at, how many of them were
-- queued, and how many stay.
local dead, n, stay = tag .. 'q:dead:' .. ARGV[1], 0, 0
local members = call('ZRANGE', dead, ARGV[2], ARGV[2] + 499)
for _, member in ipairs(members) do
  local entry = string.match(member, '^delivery_limit (.*)$')
  stay = stay + 1
  if entry then
    local queue, rest = parts(entry)
    local name = string.match(string.sub(rest, 17), '^[^\n]*')
    local record = call('GET', tag .. 'r:' .. string.match(name, '^[^/]*'))
    if record and whole(record) then
      local _, status, ticket = header(record)
      if ticket == string.sub(rest, 1, 16) and (status == 'p' or status == 'r') then
        call('ZREM', dead, member)
        stay = stay - 1
        if not there(queue, rest) then
          enqueue(queue, rest, '0')
          n = n + 1
        end
      end
    end
  end
end
load()
return { 'ok', #members, n, stay }
