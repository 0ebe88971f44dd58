-- Damaged executions: a key that is gone or of another type, or a field that is no number. A claim sets them aside.
-- constants: MAX_LOST
local TYPES = { e = 'hash', p = 'hash', l = 'list', m = 'hash', n = 'hash', a = 'zset', w = 'set' }
local NUMBERS = { 'ca', 'ua', 'due', 'pri', 'lost', 'len', 'arr', 'at', 'am', 'run', 'ret', 'dl', 'ea', 'cn' } -- the first 3 are needed
local function is_number(value)
  local n = tonumber(value)
  return n and n == n and n < 1e15 and n > -1e15
end
local function damage_of(id, q, wf, v)
  for kind, expected in pairs(TYPES) do
    local found = call('TYPE', T .. kind .. ':' .. id).ok
    if found ~= expected and (found ~= 'none' or kind == 'e') then return 'key ' .. kind .. ' is of type ' .. found end
  end
  local own = hmget(id, 'q', 'wf', 'v', 'st')
  if own[1] ~= q or own[2] ~= wf or own[3] ~= v or not own[4] then return 'queue, workflow, version or status' end
  for i, value in ipairs(hmget(id, unpack(NUMBERS))) do
    if (value or i < 4) and not is_number(value) then return 'field ' .. NUMBERS[i] end
  end
end
local function set_aside(id, lane, wf, q, v, why)
  local e = T .. 'e:' .. id
  for kind, expected in pairs(TYPES) do
    if call('TYPE', T .. kind .. ':' .. id).ok ~= expected then call('UNLINK', T .. kind .. ':' .. id) end
  end
  for i, value in ipairs(hmget(id, unpack(NUMBERS))) do
    if value and not is_number(value) then call('HDEL', e, NUMBERS[i]) end
  end
  call('HSETNX', e, 'ca', NOW)
  call('HSET', e, 'st', 'stuck', 'q', q, 'wf', wf, 'v', v, 'ua', NOW, 'lost', MAX_LOST - 1)
  call('HDEL', e, 'tok', 'wk', 'due', 'ea')
  call('HSET', T .. 'p:' .. id, 'cur', '[{"kind":"damaged","error":"' .. why .. '"}]')
  call('ZREM', T .. 'd:' .. lane, id)
  call('ZREM', T .. 't', id)
  for _, name in ipairs(call('SMEMBERS', T .. 'x')) do call('ZREM', T .. 'x:' .. name, id) end
  index(id, wf, hmget(id, 'ca')[1], false, 'stuck')
  call('ZADD', T .. 'i', 0, id)
  touch(id)
end
