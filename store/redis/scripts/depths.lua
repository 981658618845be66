-- What of some routes has not ended. ARGV: of each its name, and its number in processing. Answers of each how many are pending, how many are
-- worked on, and ticket and id of that one which is pending for longest, '' if none is.
local answer = { 'ok' }
for i = 1, #ARGV, 2 do
  local route, number, ticket, id = ARGV[i] .. '\0', ARGV[i + 1], '', ''
  local from, to = '[' .. route, '(' .. ARGV[i] .. '\1'
  local pending = call('ZLEXCOUNT', tag .. 'pending', from, to)
  while pending > 0 do -- from each priority that has some to the next one
    local entry = call('ZRANGEBYLEX', tag .. 'pending', from, to, 'LIMIT', '0', '1')[1]
    if not entry then
      break
    end
    local its = string.sub(entry, #route + 2, #route + 17)
    if ticket == '' or its < ticket then
      ticket, id = its, string.sub(entry, #route + 18)
    end
    from = '(' .. string.sub(entry, 1, #route + 1) .. '\255'
  end
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = pending, call('ZCOUNT', tag .. 'processing', number, number), ticket, id
end
return answer
