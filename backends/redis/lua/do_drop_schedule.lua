-- needs: base schedule
-- 2 id  3 expected
local version = call('HGET', T .. 's:' .. ARGV[2], 'ver')
if not version then return { NOW, 1, {} } end
if version ~= ARGV[3] then return { NOW, 0, row(ARGV[2]) } end
call('UNLINK', T .. 's:' .. ARGV[2])
call('ZREM', T .. 'sn', ARGV[2])
call('ZREM', T .. 'sz', ARGV[2])
return { NOW, 1, {} }
