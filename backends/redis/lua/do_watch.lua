-- needs: base due arrive
-- 2 id  3 watcher  4 '1' if the watcher lives on another shard
local h = call('HMGET', T .. 'e:' .. ARGV[2], 'st', 'ea')
if not h[1] then return { NOW, 'unknown' } end
local payload
if h[2] then
  local p = call('HMGET', T .. 'p:' .. ARGV[2], 'res', 'err')
  payload = '{"status":"' .. h[1] .. '","result":' .. (p[1] or 'null') .. ',"error":' .. (p[2] or 'null') .. '}'
end
if ARGV[4] == '1' then
  if h[2] then return { NOW, 'ended', payload } end
  call('SADD', T .. 'w:' .. ARGV[2], 'f' .. ARGV[3])
  return { NOW, 'ok', woken }
end
local w = call('HMGET', T .. 'e:' .. ARGV[3], 'st', 'ea')
if not w[1] or w[2] then return { NOW, 'ok', woken } end
if not h[2] then
  call('SADD', T .. 'w:' .. ARGV[2], 'l' .. ARGV[3])
  return { NOW, 'ok', woken }
end
if waits(ARGV[3], ARGV[2]) then return { NOW, 'duplicate', woken } end
arrive(ARGV[3], 'ended', ARGV[2], payload)
return { NOW, 'ok', woken }
