-- One commit. KEYS: header, log, and on one server the set of indexes and those of the session; on a cluster, where they lie
-- elsewhere, they are flagged before. ARGV: expected version, what the header says of where the session lies, position of the
-- first entry, expiry in ms (0: it stays), channel, new version, session id, updated_at ("": as it was), number of arguments
-- that are header fields and values, those, then the entries.
-- Returns 1; 0 where the session lies elsewhere; the header where the version is another.
-- Whatever may be refused comes before the first change of the session.
local header, log = KEYS[1], KEYS[2]
local found = redis.call('HMGET', header, 'version', 'log', 'parent', 'root', 'user_id')
if (found[1] or '0') ~= ARGV[1] or (not found[1] and redis.call('EXISTS', header) == 1) then
  return redis.call('HGETALL', header)
end
if found[1] then
  local identity = ''
  for i = 2, 5 do
    if found[i] and found[i] ~= 'null' and found[i] ~= '""' then
      identity = identity .. found[i]
    end
  end
  if identity ~= ARGV[2] then
    return 0
  end
end
local first = 10 + tonumber(ARGV[9])
local length = redis.call('LLEN', log)
if first <= #ARGV and length ~= tonumber(ARGV[3]) then
  return redis.error_reply('LOGLENGTH the log has ' .. length .. ' entries, not ' .. ARGV[3])
end
local left, kept = redis.call('PTTL', header), redis.call('PTTL', log)  -- -2: not there, -1: stays
redis.call('PUBLISH', ARGV[5], ARGV[6])
local at = ARGV[8] ~= '' and ARGV[8] or redis.call('HGET', header, 'updated_at') or '0'
for i = 4, #KEYS do
  enter(KEYS[3], KEYS[i], ARGV[7], at)
end
for i = 10, first - 1, 1000 do
  redis.call('HSET', header, unpack(ARGV, i, math.min(i + 999, first - 1)))
end
for i = first, #ARGV, 1000 do
  redis.call('RPUSH', log, unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
local expiry = tonumber(ARGV[4])
if expiry == 0 then
  redis.call('PERSIST', header)
  redis.call('PERSIST', log)
elseif left ~= -1 then
  redis.call('PEXPIRE', header, math.max(left, expiry))
  if kept ~= -1 then
    redis.call('PEXPIRE', log, math.max(kept, math.ceil(expiry * MARGIN)))
  end
end
return 1
