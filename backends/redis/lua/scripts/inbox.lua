-- needs: base
-- args: id
if call('EXISTS', T .. 'e:' .. id) == 0 then return { NOW } end
return { NOW, call('HGETALL', T .. 'm:' .. id) }
