-- Stands in front of the scripts that look into records.

-- A record is a header of fixed columns, the queue, a line feed, and more (see layout.go).

-- parts.StatusLetter
local function status_of(record) return string.sub(record, 17, 17) end

-- The token of the last write, the status, the ticket and the queue.
local function header(record)
  return string.sub(record, 1, 16), status_of(record), string.sub(record, 18, 33),
    string.sub(record, 50, string.find(record, '\n', 50, true) - 1)
end

-- Of an event: the sequence that it tells of, and whether the request ends with it.
local function sequence_of(event) return tonumber(string.match(event, '\n[^\n]*/(%d+)/[^/\n]*\n', 50)) end
local function ends(event)
  local status = status_of(event)
  return status ~= 'p' and status ~= 'r' and status ~= 'w'
end

-- The newest event in the list of a request, nil if there is none. That which ends it is the record
-- itself, and not kept twice.
local function newest_of(name)
  local event = call('LINDEX', tag .. 'h:' .. name, -2)
  if event == '' then
    event = call('GET', tag .. 'r:' .. string.match(name, '^[^/]*'))
  end
  return event or nil
end

-- An event in a request's own channel, nil if it is not there. Up to layout 3 they stood in a
-- stream.
local function own(name, sequence)
  local list, newest = tag .. 'h:' .. name, newest_of(name)
  local back = newest and sequence_of(newest) - sequence or -1
  local event = back == 0 and newest or back > 0 and call('LINDEX', list, -2 - 2 * back)
  if event then
    return event
  end
  local entry = call('XRANGE', tag .. 'e:' .. name, digits(sequence) .. '-0', digits(sequence) .. '-0')[1]
  return entry and entry[2][#entry[2]]
end

-- Counts what a step changes of what an owner takes: requests that are open, bytes that are stored, requests that wait. It returns what the owner takes
-- then, nil for what the step does not change.
local function use(owner, open, stored, waiting)
  local key = tag .. 'use:' .. owner
  return open ~= '0' and call('HINCRBY', key, 'o', open) or nil, stored ~= '0' and call('HINCRBY', key, 'b', stored) or nil,
    waiting ~= '0' and call('HINCRBY', key, 'w', waiting) or nil
end

-- Leaves nothing of an owner who takes nothing.
local function unused(owner)
  local key = tag .. 'use:' .. owner
  local taken = call('HMGET', key, 'o', 'b', 'w')
  if (taken[1] or '0') == '0' and (taken[2] or '0') == '0' and (taken[3] or '0') == '0' then
    call('UNLINK', key)
  end
end

-- How many stand in a queue's route up to the end of that priority.
local function behind(queue)
  return call('ZLEXCOUNT', tag .. 'pending', '[' .. string.sub(queue, 1, -2), '[' .. queue .. '\255')
end

-- How many stand before a pending request in its route.
local function ahead_of(record, id)
  local _, _, ticket, queue = header(record)
  return call('ZLEXCOUNT', tag .. 'pending', '[' .. string.sub(queue, 1, -2), '(' .. queue .. ticket .. id)
end
