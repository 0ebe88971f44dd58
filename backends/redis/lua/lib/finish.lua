-- Ends an execution: clears inbox and lease, and notifies parent and watchers. The first write makes data grow, so a
-- server without memory refuses before anything changes. Ids of accepted messages stay for ACCEPTED_FOR seconds.
-- constants: ACCEPTED_FOR
local function notify(watcher, id, payload)
  local w = hmget(watcher, 'st', 'ea', 'arr') -- a damaged watcher must not undo this end
  if w[1] and not w[2] and tonumber(w[3] or 0) then inbox_add(watcher, 'ended', id, payload) end
end
local function finish(id, status, result, err)
  local e, p = T .. 'e:' .. id, T .. 'p:' .. id
  local h = call('HMGET', e, 'st', 'wf', 'ca', 'q', 'v', 'par', 'pf', 'ret', 'lc', 'pri')
  local st, wf, ca, q, v, parent, foreign, retention, transition, pri = unpack(h, 1, 10)
  call('HSET', e, 'st', status, 'ua', NOW, 'ea', NOW)
  touch(id)
  index(id, wf, ca, st, status)
  if result ~= '' then call('HSET', p, 'res', result) else call('HDEL', p, 'res') end
  if err ~= '' then call('HSET', p, 'err', err) else call('HDEL', p, 'err') end
  if retention then call('ZADD', T .. 'z', num(now + tonumber(retention)), id) end
  local watchers = call('SMEMBERS', T .. 'w:' .. id)
  call('HDEL', e, 'tok', 'wk', 'due', 'cn')
  call('HDEL', p, 'cur')
  call('ZREM', lane(q, wf, v), id)
  if pri then call('ZREM', T .. 't', id) end
  call('UNLINK', T .. 'm:' .. id, T .. 'n:' .. id, T .. 'w:' .. id)
  call('EXPIRE', T .. 'a:' .. id, ACCEPTED_FOR)
  if not parent and #watchers == 0 then return end
  local payload = ended_payload(status, result == '' and 'null' or result, err == '' and 'null' or err)
  parent = parent and (foreign and 'f' or 'l') .. parent
  if parent then table.insert(watchers, 1, parent) end
  for i, watcher in ipairs(watchers) do
    local name = string.sub(watcher, 2)
    if i > 1 and watcher == parent then
      -- A parent that also watches gets one message.
    elseif string.sub(watcher, 1, 1) == 'f' then
      local item = 'e' .. SEP .. id .. SEP .. (transition or '') .. SEP .. NOW .. SEP .. name
      outbox_add(item, fields('e', name, id, payload))
    else
      notify(name, id, payload)
    end
  end
end
