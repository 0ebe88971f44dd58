-- needs: base remove
-- args: id
local h = call('HMGET', T .. 'e:' .. id, 'st', 'ea')
if not h[1] then return { 0 } end
if not h[2] then return { -1, h[1] } end
remove(id)
return { 1 }
