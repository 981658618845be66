-- Queues work that is not queued: of a request that is stored, if it waits or is worked on, unless it is in the queue or somebody has it; or without one.
-- ARGV: id, name, queue, when it is due in µs ('': at once), message, sequence, time ahead, 1 if what is worked on is to be handed out, too.
local id, name, queue, due, message, sequence = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local record, ticket = call('GET', tag .. 'r:' .. id), nil
local rest, again = nil, ''
if record then
  local _, status, its, its_queue = header(record)
  if status ~= 'p' and not (status == 'r' and ARGV[8] == '1') or its_queue == '' then
    return { 'ok', 0 }
  end
  queue, ticket, rest = its_queue, its, its .. name
  if status == 'r' then
    again, due = '0', ''
    if message ~= ticket then -- it was begun by one of another queue, and whoever takes over has to name that
      rest = rest .. '\n' .. message .. '\n' .. sequence
    end
  end
  local route, first = string.sub(queue, 1, -3), string.sub(queue, -1)
  if call('ZLEXCOUNT', tag .. 'q:r:' .. route, '[' .. first .. rest, '(' .. first .. rest .. '\14') > 0
    or call('ZSCORE', tag .. 'q:later', queue .. rest) then
    return { 'ok', 0 }
  end
  for _, holder in ipairs(call('ZRANGE', tag .. 'q:leases', '0', '-1')) do
    if call('HEXISTS', tag .. 'q:h:' .. holder, queue .. rest) == 1 then
      return { 'ok', 0 }
    end
  end
else
  ticket = string.format('%016d', tick(time(ARGV[7])))
  call('SET', tag .. 'clock', ticket)
  rest = ticket .. name .. '\n' .. message .. '\n' .. sequence
end
if due ~= '' then
  postpone(queue, rest, due)
else
  enqueue(queue, rest, again)
end
load()
return { 'ok', 1 }
