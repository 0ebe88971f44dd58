-- Adds a message to the inbox of an execution that exists and has not ended. A new `ended` message replaces the earlier
-- one from the same execution.
local function inbox_add(id, kind, name, payload)
  local e, m = T .. 'e:' .. id, T .. 'm:' .. id
  local seq = call('HINCRBY', e, 'arr', 1)
  call('HSET', m, seq, kind .. SEP .. NOW .. SEP .. #name .. SEP .. name .. payload)
  if kind == 'cancel' then call('HSET', e, 'cn', seq) end
  if kind == 'ended' then
    local earlier = call('HGET', T .. 'n:' .. id, name)
    call('HSET', T .. 'n:' .. id, name, seq)
    if earlier then call('HDEL', m, earlier) end
  end
  local h = call('HMGET', e, 'tok', 'st', 'q', 'wf', 'v', 'pri')
  if not h[1] and h[2] ~= 'pending' and h[2] ~= 'stuck' then make_ready(id, h[3], h[4], h[5], h[6]) end
end
local function has_end_of(id, name) return call('HEXISTS', T .. 'n:' .. id, name) == 1 end
local function ended_payload(status, result, err)
  return '{"status":"' .. status .. '","result":' .. result .. ',"error":' .. err .. '}'
end
