-- needs: base hmget remove
-- args: id
-- Removes an ended execution, or a damaged one.
local h = hmget(id, 'st', 'ea')
if not h[1] and call('EXISTS', T .. 'e:' .. id) == 0 and not call('ZSCORE', T .. 'i', id) then return { 0 } end
local progress = redis.pcall('HGET', T .. 'p:' .. id, 'cur')
local damaged = not h[1] or type(progress) == 'string' and string.sub(progress, 1, 18) == '[{"kind":"damaged"'
if not h[2] and not damaged then return { -1, h[1] } end
remove(id)
return { 1 }
