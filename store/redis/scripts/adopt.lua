-- Brings a feed of a layout before 4 up to date, where its events stood in a stream and it was
-- forgotten by time. ARGV: channel.
local stream, list = tag .. 'f:' .. ARGV[1], tag .. 'g:' .. ARGV[1]
if call('EXISTS', stream) == 1 then
  call('UNLINK', list) -- what is left of an attempt that broke off
  local from, count = '-', 500
  while count == 500 do
    local page = call('XRANGE', stream, from, '+', 'COUNT', 500)
    count = #page
    for _, entry in ipairs(page) do
      call('RPUSH', list, entry[2][2], entry[2][#entry[2]])
      from = '(' .. entry[1]
    end
  end
  call('UNLINK', stream)
end
call('PERSIST', tag .. 't:' .. ARGV[1])
return { 'ok' }
