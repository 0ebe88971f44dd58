-- Creates the execution of the block of arguments at index i. Returns the index behind the block, and true if it is new.
-- `terms` are the terms of its metadata (indexes `k:TERM`) joined by SEP. They are stored for their removal.
-- constants: PRIORITY_STEP
local function create(i)
  -- unpack i: id workflow version queue input at timeout parent foreign metadata terms priority retention amendments n_entries
  local n = tonumber(n_entries)
  local e, p = T .. 'e:' .. id, T .. 'p:' .. id
  if call('EXISTS', e) == 1 then return i + n, false end
  at = tonumber(at)
  local later = at and at > now
  local due = later and at or now - tonumber(priority) * PRIORITY_STEP
  local f = { 'st', 'pending', 'wf', workflow, 'q', queue, 'v', version, 'ca', NOW, 'ua', NOW }
  local function put(name, value)
    f[#f + 1] = name
    f[#f + 1] = value
  end
  if timeout ~= '' then put('dl', num((later and at or now) + tonumber(timeout))) end
  if parent ~= '' then put('par', parent) end
  if foreign == '1' then put('pf', '1') end
  if priority ~= '0' then put('pri', priority) end
  if retention ~= '' then put('ret', retention) end
  if amendments ~= '0' then put('am', amendments) end
  if n > 0 then put('len', n) end
  call('HSET', e, unpack(f))
  if metadata == '{}' then
    call('HSET', p, 'in', input)
  else
    call('HSET', p, 'in', input, 'md', metadata)
  end
  if terms ~= '' then
    call('HSET', p, 'mt', terms)
    for term in string.gmatch(terms, '[^\31]+') do call('ZADD', T .. 'k:' .. term, NOW, id) end
  end
  append(id, i, n)
  call('SADD', T .. 'lanes', queue .. SEP .. workflow .. SEP .. version)
  set_due(id, queue, workflow, version, priority, due)
  call('ZADD', T .. 'i', 0, id)
  touch(id)
  index(id, workflow, NOW, false, 'pending')
  if parent ~= '' then call('ZADD', T .. 'y:' .. parent, NOW, id) end
  wake(queue)
  return i + n, true
end
