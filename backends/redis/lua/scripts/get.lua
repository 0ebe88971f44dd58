-- needs: base read
-- args: id
if call('EXISTS', T .. 'e:' .. id) == 0 and not call('ZSCORE', T .. 'i', id) then return { NOW } end
return { NOW, header(id) }
