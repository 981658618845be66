-- Looks for the keys of events and bodies of a request, of whichever life. ARGV: id, where to go on, '0' to begin. Answers where to go on, '0' at the
-- end, and what stands behind the tag of those that begin as such keys do.
local pattern = string.gsub(tag, '[][*?^\\]', '\\%0') .. '[hioe]:' .. string.gsub(ARGV[1], '[][*?^\\]', '\\%0') .. '*'
local page = call('SCAN', ARGV[2], 'MATCH', pattern, 'COUNT', '1000')
local names = {}
for i, key in ipairs(page[2]) do
  names[i] = string.sub(key, #tag + 1)
end
return { page[1], names }
