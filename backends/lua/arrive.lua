-- Puts a message into the inbox of an execution that exists and has not ended; false if it had been accepted before.
local function arrive(id, message_id, kind, name, payload)
  if call('SADD', T .. 'a:' .. id, message_id) == 0 then return false end
  local e = T .. 'e:' .. id
  local seq = call('HINCRBY', e, 'arr', 1)
  call('HSET', T .. 'm:' .. id, seq, kind .. SEP .. NOW .. SEP .. #name .. SEP .. name .. payload)
  if kind == 'cancel' then call('HSET', e, 'cn', seq) end
  local h = call('HMGET', e, 'tok', 'st', 'q', 'wf', 'v', 'pri')
  if not h[1] and h[2] ~= 'pending' and h[2] ~= 'stuck' then make_ready(id, h[3], h[4], h[5], h[6]) end
  return true
end
