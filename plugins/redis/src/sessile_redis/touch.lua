-- Keep a log that expires for longer, never shorter. KEYS: log. ARGV: until when (ms since 1970; "": for ever).
local left = redis.call('PTTL', KEYS[1])
if left < 0 then
  return
end
if ARGV[1] == '' then
  return redis.call('PERSIST', KEYS[1])
end
local now = redis.call('TIME')
local longer = tonumber(ARGV[1]) - now[1] * 1000 - math.floor(now[2] / 1000)
if longer > left then
  return redis.call('PEXPIRE', KEYS[1], longer)
end
