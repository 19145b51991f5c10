-- What scripts do to an index: see index.py. The set `known` names all indexes; "*" in it says that it is whole.
-- An index that is whole has the member "", with the score -inf.
local function enter(known, index, member, score)
  if redis.call('ZADD', index, score, member) == 1 and redis.call('ZCARD', index) == 1
      and redis.call('SADD', known, index) == 1 and redis.call('SISMEMBER', known, '*') == 1 then
    redis.call('ZADD', index, '-inf', '')  -- it is new, and not one that was lost
  end
end

local function drop_empty(known, index)
  if redis.call('ZCARD', index) == 1 and redis.call('ZSCORE', index, '') then
    redis.call('DEL', index)
    redis.call('SREM', known, index)
  end
end

local function leave(known, index, member)
  redis.call('ZREM', index, member)
  drop_empty(known, index)
end
