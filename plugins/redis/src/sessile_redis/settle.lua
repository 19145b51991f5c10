-- Put what is so in the place of a flag. KEYS: the set of indexes, indexes. ARGV: session id, flag, score ("": it is gone),
-- the least score that is a flag. Another flag is left alone: whoever put it settles it. Returns how many had no flag at all.
local lost = 0
for i = 2, #KEYS do
  local score = tonumber(redis.call('ZSCORE', KEYS[i], ARGV[1]) or '')
  if score == tonumber(ARGV[2]) then
    if ARGV[3] == '' then
      leave(KEYS[1], KEYS[i], ARGV[1])
    else
      enter(KEYS[1], KEYS[i], ARGV[1], ARGV[3])
    end
  elseif not score or score < tonumber(ARGV[4]) then
    lost = lost + 1
  end
end
return lost
