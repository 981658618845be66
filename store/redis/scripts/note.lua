-- Takes requests into the index of everybody's, unless they are gone or in it. ARGV, for each: id, route, when it was created.
for i = 1, #ARGV, 3 do
  if call('EXISTS', tag .. 'r:' .. ARGV[i]) == 1 then
    call('ZADD', tag .. 'made:' .. ARGV[i + 1], 'NX', ARGV[i + 2], ARGV[i])
    call('ZADD', tag .. 'made', '0', ARGV[i + 1])
  end
end
return { 'ok' }
