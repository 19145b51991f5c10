-- Keep what has an expiry alive for longer, never shorter. KEYS: header, log. ARGV: ms (0: for ever).
local expiry = tonumber(ARGV[1])
for _, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  if left >= 0 and expiry == 0 then
    redis.call('PERSIST', key)
  elseif left >= 0 and left < expiry then
    redis.call('PEXPIRE', key, expiry)
  end
end
