-- A session's header, and the last entries of its log, in one round trip.
-- KEYS[1]: the header. ARGV: what the keys of its logs begin with; how many entries.
local header = redis.call('HGETALL', KEYS[1])
local log = redis.call('HGET', KEYS[1], 'log')
local random = log and string.match(log, '^"([^.]*)%.')
if not random then
  return {header, {}}
end
return {header, redis.call('LRANGE', ARGV[1] .. random, -tonumber(ARGV[2]), -1)} -- it has the header's hash tag
