-- needs: base
local found = {}
for _, name in ipairs(call('ZRANGEBYSCORE', T .. 'wz', '(' .. NOW, '+inf')) do
  found[#found + 1] = name
  found[#found + 1] = call('HGET', T .. 'wh', name)
end
return found
