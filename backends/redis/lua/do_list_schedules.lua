-- needs: base schedule
-- 2 after  3 limit
local from = ARGV[2] == '' and '-' or '(' .. ARGV[2]
local found = call('ZRANGEBYLEX', T .. 'sn', from, '+', 'LIMIT', 0, ARGV[3])
for i, id in ipairs(found) do found[i] = row(id) end
return found
