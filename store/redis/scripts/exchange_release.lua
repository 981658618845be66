-- Gives up the lease on what is collected for the callback exchange, removes what was
-- published and notifies the others if something is left.
-- ARGV: token, the command that publishes; the entries that were published.
if publisher() ~= ARGV[1] then
  return { 'lost' }
end
local stream = tag .. 'callback:events'
if #ARGV > 2 then
  call('XDEL', stream, unpack(ARGV, 3))
end
call('DEL', tag .. 'callback:lease')
if call('XLEN', stream) > 0 then
  call(ARGV[2], tag .. 'b:callback', '')
end
return { 'ok' }
