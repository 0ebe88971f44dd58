-- Makes the execution that ARGV describes from index i on; returns the index behind it and whether it is new.
-- id workflow version queue input at timeout parent foreign metadata terms priority retention amendments n entries...
-- Terms are what its metadata is found by (`k:TERM`), with separators between; kept, so that they can be removed.
local function create(i)
  local id, wf, v, q, input, at, timeout, parent, foreign, md, terms, pri, retention, am, n = unpack(ARGV, i, i + 14)
  n = tonumber(n)
  local e = T .. 'e:' .. id
  if call('EXISTS', e) == 1 then return i + 15 + n, false end
  at = tonumber(at)
  local later = at and at > now
  local due = later and at or now - tonumber(pri) * PRIORITY_STEP
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
  if terms ~= '' then
    call('HSET', T .. 'p:' .. id, 'mt', terms)
    for term in string.gmatch(terms, '[^\31]+') do call('ZADD', T .. 'k:' .. term, NOW, id) end
  end
  append(id, i + 15, n)
  call('SADD', T .. 'lanes', q .. SEP .. wf .. SEP .. v)
  set_due(id, q, wf, v, pri, due)
  call('ZADD', T .. 'i', 0, id)
  touch(id)
  index(id, wf, NOW, false, 'pending')
  if parent ~= '' then call('ZADD', T .. 'y:' .. parent, NOW, id) end
  wake(q)
  return i + 15 + n, true
end
