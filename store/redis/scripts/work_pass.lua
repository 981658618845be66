-- Wakes somebody else, because the process that was woken takes no work of these routes any more. ARGV: the routes.
for _, route in ipairs(ARGV) do
  wake(route, call('ZCARD', tag .. 'q:r:' .. route) > 0 and 1 or 0)
end
return { 'ok' }
