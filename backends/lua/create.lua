-- Makes the execution that ARGV describes from index i on; returns the index behind it and whether it is new.
-- id workflow version queue input at timeout parent foreign metadata priority retention amendments n entries...
local function create(i)
  local id, wf, v, q, input, at, timeout, parent, foreign, md, pri, retention, am, n = unpack(ARGV, i, i + 13)
  n = tonumber(n)
  local e = T .. 'e:' .. id
  if call('EXISTS', e) == 1 then return i + 14 + n, false end
  at = tonumber(at)
  local later = at and at > now
  local due = later and at or now - tonumber(pri) * 1000000
  local f = { 'st', 'pending', 'wf', wf, 'q', q, 'v', v, 'ca', NOW, 'ua', NOW }
  local function put(name, value)
    f[#f + 1] = name
    f[#f + 1] = value
  end
  if timeout ~= '' then put('dl', num((later and at or now) + tonumber(timeout))) end
  if parent ~= '' then put('par', parent) end
  if foreign == '1' then put('pf', '1') end
  if pri ~= '0' then put('pri', pri) end
  if retention ~= '' then put('ret', retention) end
  if am ~= '0' then put('am', am) end
  if n > 0 then put('len', n) end
  call('HSET', e, unpack(f))
  if md == '{}' then
    call('HSET', T .. 'p:' .. id, 'in', input)
  else
    call('HSET', T .. 'p:' .. id, 'in', input, 'md', md)
  end
  append(id, i + 14, n)
  call('SADD', T .. 'lanes', q .. SEP .. wf .. SEP .. v)
  set_due(id, q, wf, v, due)
  index(id, wf, NOW, false, 'pending')
  if parent ~= '' then call('ZADD', T .. 'y:' .. parent, NOW, id) end
  wake(q)
  return i + 14 + n, true
end
