-- Behind work.lua, for what puts work into the queue that may be there.

-- Whether a record can be looked into. Of one that is damaged whoever reads it is told, and nobody can work on it.
local function whole(record) return string.find(record, '\n', 50, true) end

local holders -- the leases of all processes

-- Whether work is in the queue, or somebody has it.
local function there(queue, rest)
  local route, first = string.sub(queue, 1, -3), string.sub(queue, -1)
  if call('ZLEXCOUNT', tag .. 'q:r:' .. route, '[' .. first .. rest, '(' .. first .. rest .. '\14') > 0
    or call('ZSCORE', tag .. 'q:later', queue .. rest) then
    return true
  end
  holders = holders or call('ZRANGE', tag .. 'q:leases', '0', '-1')
  for _, holder in ipairs(holders) do
    if call('HEXISTS', tag .. 'q:h:' .. holder, queue .. rest) == 1 then
      return true
    end
  end
  return false
end
