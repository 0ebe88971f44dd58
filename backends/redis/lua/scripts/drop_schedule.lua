-- needs: base schedules
-- args: id expected
local h = redis.pcall('HMGET', T .. 's:' .. id, 'ver', 'wf')
local version = h[1]
if not version then -- none, or a key of another type
  call('UNLINK', T .. 's:' .. id)
  call('ZREM', T .. 'sn', id)
  call('ZREM', T .. 'sz', id)
  return { NOW, 1, {} }
end
if version ~= expected then return { NOW, 0, row(id) } end
call('UNLINK', T .. 's:' .. id)
call('ZREM', T .. 'sn', id)
set_next(id, h[2], nil)
return { NOW, 1, {} }
