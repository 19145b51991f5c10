-- One commit. Every key has the session's hash tag, so that it runs on a cluster.
-- KEYS: header, log. ARGV: expected version, position of the first entry, expiry in ms (0: none), channel,
-- number of arguments that are header fields and values, those, then the entries.
-- Returns 1, when the session expires (ms, -1: never), and the ids of the logs it may read; the header where the version
-- is another.
local header, log = KEYS[1], KEYS[2]
local version = redis.call('HGET', header, 'version') or '0'
if version ~= ARGV[1] then
  return redis.call('HGETALL', header)
end
if version == '0' then
  redis.call('DEL', log)
end
local fields = tonumber(ARGV[5])
local first = 6 + fields
if first <= #ARGV and redis.call('LLEN', log) ~= tonumber(ARGV[2]) then
  return redis.error_reply('LOGLENGTH the log has ' .. redis.call('LLEN', log) .. ' entries, not ' .. ARGV[2])
end
for i = 6, first - 1, 1000 do
  redis.call('HSET', header, unpack(ARGV, i, math.min(i + 999, first - 1)))
end
for i = first, #ARGV, 1000 do
  redis.call('RPUSH', log, unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
local expiry = tonumber(ARGV[3])
if expiry > 0 then
  redis.call('PEXPIRE', header, expiry)
  redis.call('PEXPIRE', log, expiry)
end
redis.call('PUBLISH', ARGV[4], redis.call('HGET', header, 'version'))
return {1, redis.call('PTTL', header), redis.call('HGET', header, '_ancestors')}
