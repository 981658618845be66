-- Behind work.lua, for what is handed out. Of each process that has taken work here there is a hash of its entries: how often each was lost, ''
-- if it was never handed out before. A process is there as long as its lease in q:leases lasts.

-- A server without memory lets a script write that has written something that takes none.
local function begin() call('ZREM', tag .. 'q:leases', '') end

-- Puts work aside that was lost too often, or is none, for whoever looks after it.
local function bury(route, now, reason, entry)
  local dead = tag .. 'q:dead:' .. route
  call('ZADD', dead, digits(now), reason .. ' ' .. entry)
  call('ZREMRANGEBYSCORE', dead, '-inf', digits(now - 604800000000)) -- 7 days, as dead queues of RabbitMQ
  call('ZREMRANGEBYRANK', dead, '0', '-10001')
end

-- Puts an entry back. how: 'lost': that counts, and too often is the end of it; 'back': it does not; 'untouched': nobody has seen it. again: what
-- stands in the hash. It reports whether it is put aside.
local function put_back(entry, again, how, limit, now)
  local queue, rest = parts(entry)
  if how == 'lost' then
    local lost = (tonumber(again) or 0) + 1
    if lost >= limit then
      bury(string.sub(queue, 1, -3), now, 'delivery_limit', entry)
      return true
    end
    again = digits(lost)
  elseif how == 'back' then
    again = digits(tonumber(again) or 0)
  end
  enqueue(queue, rest, again)
  return false
end

-- Ends a lease: what is held by it goes back. Answers how many were handed out again, and how many put aside.
local function release(holder, how, limit, now)
  local held, back, buried = call('HGETALL', tag .. 'q:h:' .. holder), 0, 0
  for i = 1, #held, 2 do
    if put_back(held[i], held[i + 1], how, limit, now) then
      buried = buried + 1
    else
      back = back + 1
    end
  end
  call('UNLINK', tag .. 'q:h:' .. holder)
  call('ZREM', tag .. 'q:leases', holder)
  return back, buried
end
