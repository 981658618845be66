-- Answers the time, and what is known of a stream. ARGV: time ahead, name.
return { digits(time(ARGV[1])), call('GET', tag .. 'y:' .. ARGV[2]) or '' }
