-- needs: base hmget lanes inbox_add
-- args: id watcher foreign
-- `foreign` is '1' if the watcher lives on another shard.
local h = hmget(id, 'st', 'ea')
if not h[1] then return { NOW, 'unknown' } end
local payload
if h[2] then
  local p = call('HMGET', T .. 'p:' .. id, 'res', 'err')
  payload = ended_payload(h[1], p[1] or 'null', p[2] or 'null')
end
if foreign == '1' then
  if h[2] then return { NOW, 'ended', payload } end
  call('SADD', T .. 'w:' .. id, 'f' .. watcher)
  return { NOW, 'ok', woken }
end
local w = hmget(watcher, 'st', 'ea')
if not w[1] or w[2] then return { NOW, 'ok', woken } end
if not h[2] then
  call('SADD', T .. 'w:' .. id, 'l' .. watcher)
  return { NOW, 'ok', woken }
end
if has_end_of(watcher, id) then return { NOW, 'duplicate', woken } end
inbox_add(watcher, 'ended', id, payload)
return { NOW, 'ok', woken }
