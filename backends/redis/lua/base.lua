-- Every script begins with this: the shard, the instant, and how numbers and fields are written.
-- KEYS[1] is the shard's hash tag, which all its keys begin with. No key has that very name, so a cluster that moves
-- the slot refuses each script as a whole, before it writes. ARGV[1] is the instant, '' for the server's own.
local T, SEP, call = KEYS[1], '\31', redis.call
local now = tonumber(ARGV[1])
if not now then
  local t = call('TIME')
  now = t[1] + t[2] / 1000000
end
local function num(x) return string.format('%.17g', x) end
local NOW = num(now)
