-- needs: base schedules
-- args: id expected
local version = call('HGET', T .. 's:' .. id, 'ver')
if not version then return { NOW, 1, {} } end
if version ~= expected then return { NOW, 0, row(id) } end
call('UNLINK', T .. 's:' .. id)
call('ZREM', T .. 'sn', id)
call('ZREM', T .. 'sz', id)
return { NOW, 1, {} }
