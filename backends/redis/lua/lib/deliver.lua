-- Delivers a message. Returns a code ('unknown', 'ended', 'duplicate' or 'ok') and, if it has ended, the status.
-- The execution remembers the ids of accepted messages, also after its end. Message id '' means none: a transition's own
-- cancels and the answers to watchers have no id. The name of a cancel is the execution that cancels: only the parent may.
-- constants: ACCEPTED_LIMIT
local function remember(id, message_id)
  local arrivals = tonumber(call('HGET', T .. 'e:' .. id, 'arr') or 0)
  call('ZADD', T .. 'a:' .. id, arrivals, message_id)
  if arrivals > ACCEPTED_LIMIT then call('ZREMRANGEBYSCORE', T .. 'a:' .. id, '-inf', arrivals - ACCEPTED_LIMIT) end
end
local function deliver(id, message_id, kind, name, payload)
  local e = T .. 'e:' .. id
  local h = hmget(id, 'st', 'ea', 'tok', 'len', 'wf', 'ca', 'cn', 'par')
  local st = h[1]
  if not st then return 'unknown', '' end
  if message_id ~= '' and call('ZSCORE', T .. 'a:' .. id, message_id) then return 'duplicate', '' end
  if h[2] then return 'ended', st end
  if kind == 'cancel' and name ~= '' and name ~= h[8] then return 'duplicate', '' end
  local code = 'ok'
  if kind == 'cancel' and h[7] or kind == 'ended' and message_id == '' and has_end_of(id, name) then
    code = 'duplicate'
  elseif kind == 'cancel' and not h[3] and st == 'pending' and (h[4] or '0') == '0' then
    if message_id ~= '' then remember(id, message_id) end
    finish(id, 'cancelled', '', payload)
    return 'ok', ''
  else
    inbox_add(id, kind, name, payload)
    if kind == 'cancel' and h[3] then
      call('HSET', e, 'st', 'cancelling', 'ua', NOW)
      touch(id)
      index(id, h[5], h[6], st, 'cancelling')
    end
  end
  if message_id ~= '' then remember(id, message_id) end
  return code, ''
end
