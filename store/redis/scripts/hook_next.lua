-- Answers how long, in µs, until something may be claimed in a partition, -1 if nothing will by itself. ARGV: time ahead.
local first = first_of(tag .. 'w:due')
return { first and digits(math.max(0, first - time(ARGV[1]))) or '-1' }
