-- Stands in front of the scripts that look into records.

-- A record is a header of fixed columns, the queue, a line feed, and more (see layout.go).

local function status_of(record) return string.sub(record, 17, 17) end

-- The token of the last write, the status, the ticket and the queue.
local function header(record)
  return string.sub(record, 1, 16), status_of(record), string.sub(record, 18, 33),
    string.sub(record, 50, string.find(record, '\n', 50, true) - 1)
end

-- Of an entry in a request's own stream: the token of the write that it is from, and whether the request ends with it. In layout 1 both
-- stood beside the event.
local function token_of(entry)
  local fields = entry[2]
  return #fields == 6 and fields[2] or string.sub(fields[2], 1, 16)
end
local function ends(entry)
  local fields = entry[2]
  if #fields == 6 then
    return fields[4] == '1'
  end
  local status = status_of(fields[2])
  return status ~= 'p' and status ~= 'r'
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
