-- needs: base schedules
-- args: after limit
local found = call('ZRANGEBYLEX', T .. 'sn', after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit)
for i, id in ipairs(found) do found[i] = row(id) end
return found
