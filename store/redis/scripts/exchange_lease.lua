-- Stands in front of the scripts that have to do with what is collected for the callback exchange.

-- Who publishes it, and until when the lease runs, in microseconds.
local function publisher()
  local lease = call('GET', tag .. 'callback:lease')
  if not lease then
    return '', 0
  end
  return string.sub(lease, 17), tonumber(string.sub(lease, 1, 16))
end

-- What is collected stays for a week after the last gateway with a callback exchange.
local collected_ttl = 7 * 24 * 3600 * 1000
