-- Forgets what is collected for the callback exchange of a request. ARGV: the name of its life, the
-- entry behind which to scan, how many to scan. Answers the entry to go on behind, '' at the
-- end.
local stream, name = tag .. 'callback:events', ARGV[1]
local page = call('XRANGE', stream, '(' .. ARGV[2], '+', 'COUNT', ARGV[3])
for _, entry in ipairs(page) do
  if string.match(entry[2][4], '\n%d*%l([^\n]-)/%d+/[^/\n]*\n', 50) == name then
    call('XDEL', stream, entry[1])
  end
end
return { #page == tonumber(ARGV[3]) and page[#page][1] or '' }
