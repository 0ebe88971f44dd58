-- needs: base read
-- args: id
if call('EXISTS', T .. 'e:' .. id) == 0 then return { NOW } end
return { NOW, half('m:' .. id) }
