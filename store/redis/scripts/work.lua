-- Stands in front of the scripts that change what work is queued here, behind the settings (see queueFunctions): publish, the command that
-- does; alone, whether everybody subscribes at this server. Where RabbitMQ carries the work none of this is there, and queued is false.
--
-- Work is an entry: the queue (route NUL inverse-priority), the ticket, and the name of the request. What was put here without a request
-- that is stored has its message and sequence behind that, each behind a line feed. On a route's list the route is left out, and
-- behind an entry that was handed out before stands, behind a carriage return, how often that was lost.
local queued = {} -- by route: what is to be put on its list at the end, as ZADD takes it
local loaded = false

-- Lets work be taken as soon as the script ends. again: as it stands behind the entry, '' if it was never handed out.
local function enqueue(queue, rest, again)
  local route = string.sub(queue, 1, -3)
  local list = queued[route]
  if not list then
    list = {}
    queued[route], loaded = list, true
  end
  list[#list + 1] = '0'
  list[#list + 1] = string.sub(queue, -1) .. rest .. (again == '' and '' or '\r' .. again)
end

-- Lets work be taken from a time on, in µs. Who waits for the first of those is told if there is a new one.
local function postpone(queue, rest, due)
  local later, entry = tag .. 'q:later', queue .. rest
  call('ZADD', later, due, entry)
  if call('ZRANGE', later, '0', '0')[1] == entry then
    call(publish, tag .. 'b:work', due)
  end
end

-- Takes work back that nobody has taken.
local function dequeue(queue, rest)
  if call('ZREM', tag .. 'q:r:' .. string.sub(queue, 1, -3), string.sub(queue, -1) .. rest) == 0 then
    call('ZREM', tag .. 'q:later', queue .. rest)
  end
end

-- The queue of an entry, and what is behind it.
local function parts(entry)
  local nul = string.find(entry, '\0', 1, true)
  return string.sub(entry, 1, nul + 1), string.sub(entry, nul + 2)
end

-- Wakes processes that wait for work of a route, one for each piece. What a process that has died had asked for goes to the next one, if
-- the server knows that nobody has heard it.
local function wake(route, n)
  while n > 0 do
    local sleeper = call('SPOP', tag .. 'q:w:' .. route)
    if not sleeper then
      return
    end
    if call(publish, tag .. 'b:work:' .. sleeper, route) > 0 or not alone then
      n = n - 1
    end
  end
end

-- Puts what is to be taken on the lists, those of a route in one command, and wakes whoever waits for it.
local function load()
  if not loaded then
    return
  end
  for route, list in pairs(queued) do
    for from = 1, #list, 1000 do
      call('ZADD', tag .. 'q:r:' .. route, unpack(list, from, math.min(from + 999, #list)))
    end
    wake(route, #list / 2)
  end
end
