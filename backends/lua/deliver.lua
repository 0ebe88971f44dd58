-- Delivers a message: 'unknown', 'ended' and the status, 'duplicate', or 'ok'. The id of an `ended` message that comes
-- from another shard ('end') depends on the receiver's run.
local function deliver(id, message_id, kind, name, payload)
  local e = T .. 'e:' .. id
  local h = call('HMGET', e, 'st', 'ea', 'tok', 'len', 'run', 'wf', 'ca')
  local st = h[1]
  if not st then return 'unknown', '' end
  if message_id == 'end' then message_id = 'end:' .. name .. ':' .. (h[5] or '0') end
  if call('SISMEMBER', T .. 'a:' .. id, message_id) == 1 then return 'duplicate', '' end
  if h[2] then return 'ended', st end
  if kind == 'cancel' and not h[3] and st == 'pending' and (h[4] or '0') == '0' then
    finish(id, 'cancelled', '', payload)
    return 'ok', ''
  end
  arrive(id, message_id, kind, name, payload)
  if kind == 'cancel' and h[3] then
    call('HSET', e, 'st', 'cancelling', 'ua', NOW)
    index(id, h[6], h[7], st, 'cancelling')
  end
  return 'ok', ''
end
