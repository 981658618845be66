-- Stands in front of the scripts that take requests out of the indexes by route.

-- Takes a request out of what an index has of a route, or of any, and the route out of those that it has if there is no more.
local function unlist(index, id, route)
  for _, name in ipairs(route and { route } or call('ZRANGE', tag .. index, 0, -1)) do
    local key = tag .. index .. ':' .. name
    call('ZREM', key, id)
    if call('EXISTS', key) == 0 then
      call('ZREM', tag .. index, name)
    end
  end
end
