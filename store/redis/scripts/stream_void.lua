-- Sees to it that a fork is not made any more for which a name was taken in another partition, and answers what is known of it.
-- ARGV: name, token of who took it, for how long in ms.
call('SET', tag .. 'v:' .. ARGV[2], '', 'PX', ARGV[3])
return { call('GET', tag .. 'y:' .. ARGV[1]) or '' }
