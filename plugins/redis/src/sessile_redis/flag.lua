-- Flag a session in indexes: from here on lists ask its header. KEYS: the set of indexes, indexes. ARGV: session id, flag,
-- and what is left alone: scores from this one on, and this one ("": none). Returns the number of those that were flagged.
local flagged = 0
local most, right = tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 2, #KEYS do
  local score = tonumber(redis.call('ZSCORE', KEYS[i], ARGV[1]) or '')
  if not score or (score < most and score ~= right) then
    enter(KEYS[1], KEYS[i], ARGV[1], ARGV[2])
    flagged = flagged + 1
  end
end
return flagged
