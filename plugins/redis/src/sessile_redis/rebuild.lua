-- The ends of making indexes again. KEYS: the set of indexes, indexes. ARGV: "begin", "end" of some indexes, or "finish" of all;
-- the rebuild's mark. A mark that is still there in the end says that nothing was lost meanwhile. Returns how many were lost.
local known, mark = KEYS[1], ARGV[2]
if ARGV[1] == 'begin' then
  redis.call('SADD', known, mark)
  for i = 2, #KEYS do
    redis.call('SADD', known, KEYS[i])
    redis.call('ZADD', KEYS[i], '-inf', mark)
  end
  return 0
end
if ARGV[1] == 'finish' then
  if redis.call('SREM', known, mark) == 0 then
    return 1
  end
  redis.call('SADD', known, '*')
  return 0
end
local lost = 0
for i = 2, #KEYS do
  if redis.call('ZSCORE', KEYS[i], mark) or redis.call('ZSCORE', KEYS[i], '') then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', '-inf')
    redis.call('ZADD', KEYS[i], '-inf', '')
    drop_empty(known, KEYS[i])
  elseif redis.call('SISMEMBER', known, KEYS[i]) == 1 then
    lost = lost + 1
  end
end
return lost
