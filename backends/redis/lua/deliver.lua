-- Delivers a message: 'unknown', 'ended' and the status, 'duplicate', or 'ok'. What has an id is remembered by it, also
-- beyond the end (see finish.lua). Cancels that a transition implies and ends that a watcher asks for have none ('').
local ACCEPTED_LIMIT = 10000 -- requests.ACCEPTED_LIMIT
local function remember(id, message_id)
  local arrivals = tonumber(call('HGET', T .. 'e:' .. id, 'arr') or 0)
  call('ZADD', T .. 'a:' .. id, arrivals, message_id)
  if arrivals > ACCEPTED_LIMIT then call('ZREMRANGEBYSCORE', T .. 'a:' .. id, '-inf', arrivals - ACCEPTED_LIMIT) end
end
local function deliver(id, message_id, kind, name, payload)
  local e = T .. 'e:' .. id
  local h = call('HMGET', e, 'st', 'ea', 'tok', 'len', 'wf', 'ca', 'cn')
  local st = h[1]
  if not st then return 'unknown', '' end
  if message_id ~= '' and call('ZSCORE', T .. 'a:' .. id, message_id) then return 'duplicate', '' end
  if h[2] then return 'ended', st end
  local code = 'ok'
  if kind == 'cancel' and h[7] or kind == 'ended' and message_id == '' and waits(id, name) then
    code = 'duplicate'
  elseif kind == 'cancel' and not h[3] and st == 'pending' and (h[4] or '0') == '0' then
    if message_id ~= '' then remember(id, message_id) end
    finish(id, 'cancelled', '', payload)
    return 'ok', ''
  else
    arrive(id, kind, name, payload)
    if kind == 'cancel' and h[3] then
      call('HSET', e, 'st', 'cancelling', 'ua', NOW)
      touch(id)
      index(id, h[5], h[6], st, 'cancelling')
    end
  end
  if message_id ~= '' then remember(id, message_id) end
  return code, ''
end
