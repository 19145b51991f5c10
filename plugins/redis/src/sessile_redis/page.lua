-- A part of an index, newest first, and all that is flagged. KEYS: the set of indexes, index. ARGV: newest and oldest score,
-- how many, the least score that is a flag. Returns 0 where the index was lost; else ids and scores in turns, twice.
if not redis.call('ZSCORE', KEYS[2], '') then
  if redis.call('SISMEMBER', KEYS[1], '*') == 1 and redis.call('SISMEMBER', KEYS[1], KEYS[2]) == 0 then
    return {{}, {}}  -- there never was one
  end
  return 0
end
return {
  redis.call('ZRANGEBYSCORE', KEYS[2], ARGV[4], '+inf', 'WITHSCORES'),
  redis.call('ZREVRANGEBYSCORE', KEYS[2], ARGV[1], ARGV[2], 'WITHSCORES', 'LIMIT', 0, ARGV[3]),
}
