-- needs: base remove
local h = call('HMGET', T .. 'e:' .. ARGV[2], 'st', 'ea')
if not h[1] then return { 0 } end
if not h[2] then return { -1, h[1] } end
remove(ARGV[2])
return { 1 }
