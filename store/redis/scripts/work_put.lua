-- Queues work that is not queued: of a request that is stored, if it waits or is worked on, unless it is in the queue or somebody has it; or without one.
-- ARGV: id, name, queue, when it is due in µs ('': at once), message, sequence, time ahead, 1 if what is worked on is to be handed out, too.
local id, name, queue, due, message, sequence = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local record, ticket = call('GET', tag .. 'r:' .. id), nil
local rest, again = nil, ''
if record then
  if not whole(record) then
    return { 'ok', 0 }
  end
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
  if there(queue, rest) then
    return { 'ok', 0 }
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
