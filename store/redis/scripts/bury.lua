-- Takes requests that have failed into the index, unless they have changed meanwhile. ARGV, for each: id, expected token, time of its end.
for i = 1, #ARGV, 3 do
  local record = call('GET', tag .. 'r:' .. ARGV[i])
  if record then
    local token, status, _, queue = header(record)
    local route = string.sub(queue, 1, -3)
    if token == ARGV[i + 1] and status == 'f' and route ~= '' then
      call('ZADD', tag .. 'dead:' .. route, ARGV[i + 2], ARGV[i])
      call('ZADD', tag .. 'dead', '0', route)
    end
  end
end
return { 'ok' }
