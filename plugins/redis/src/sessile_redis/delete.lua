-- Remove a header. KEYS: header, and on one server the set of indexes and those of the session. ARGV: expected version (of a
-- broken header, the text that it has there, or ""), channel, session id. Returns 1; the header where the version is another.
local kind = redis.call('TYPE', KEYS[1]).ok
local version = ''
if kind == 'hash' then
  version = redis.call('HGET', KEYS[1], 'version') or ''
elseif kind == 'none' then
  version = '0'
end
if version ~= ARGV[1] then
  return redis.call('HGETALL', KEYS[1])
end
redis.call('PUBLISH', ARGV[2], 0)
for i = 3, #KEYS do
  leave(KEYS[2], KEYS[i], ARGV[3])
end
redis.call('UNLINK', KEYS[1])
return 1
