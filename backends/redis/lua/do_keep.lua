-- needs:
-- A commit that does nothing but append entries and keep the lease, as nearly all do: what do_commit.lua does then, in a
-- third of its time. Hence no parts, whose functions would all be made anew for each step.
-- 2 id  3 token  4 expected  5 commit id  6 seen  7 lease  8.. entries
local T, call, ARGV = KEYS[1], redis.call, ARGV
local NOW = ARGV[1]
if NOW == '' then
  local t = call('TIME')
  NOW = t[1] .. '.' .. string.sub('00000' .. t[2], -6) -- cheaper than base.lua's arithmetic, and as exact
end
local id, commit = ARGV[2], ARGV[5]
local e = T .. 'e:' .. id
local h = call('HMGET', e, 'tok', 'len', 'lc', 'arr', 'due', 'lost', 'ua')
local length, due, now, n = h[2] or '0', tonumber(h[5]), tonumber(NOW), #ARGV
if h[3] ~= commit then
  if h[1] ~= ARGV[3] then -- no ended execution has a token
    return { 'F', call('EXISTS', e) == 1 and 'the lease has passed on' or 'it is gone' }
  end
  if length ~= ARGV[4] then return { 'F', 'the log has ' .. length .. ' entries, not ' .. ARGV[4] } end
  if n == 8 then call('RPUSH', T .. 'l:' .. id, ARGV[8]) end
  for from = 8, n > 8 and n or 0, 1000 do call('RPUSH', T .. 'l:' .. id, unpack(ARGV, from, math.min(from + 999, n))) end
  call('HSET', e, 'ua', NOW, 'lc', commit, 'len', length + n - 7)
  if h[6] then call('HDEL', e, 'lost') end
  if math.floor(now * 10) ~= math.floor(h[7] * 10) then call('ZADD', T .. 'u', NOW, id) end -- few.lua knows of the tick
  -- Moving the lease's end costs as much as all else, so a step that follows soon leaves it.
  local lease = tonumber(ARGV[7])
  if not due or now > due - lease * 0.75 then
    local lane, score = call('HMGET', e, 'q', 'wf', 'v'), string.format('%.17g', now + lease)
    call('HSET', e, 'due', score)
    if tonumber(call('HGET', e, 'pri') or 0) > 0 then call('ZADD', T .. 't', score, id) end
    call('ZADD', T .. 'd:' .. table.concat(lane, '\31'), score, id)
  end
elseif h[1] ~= ARGV[3] then
  return { NOW } -- Repeated, and the lease has passed on since.
end
local arrivals, seen = tonumber(h[4] or 0), tonumber(ARGV[6])
if arrivals <= seen then return NOW end
local found = {}
for seq = seen + 1, arrivals do
  local message = call('HGET', T .. 'm:' .. id, seq)
  if message then
    found[#found + 1] = tostring(seq)
    found[#found + 1] = message
  end
end
return { NOW, found }
