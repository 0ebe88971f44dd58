-- needs: base
-- args: wanted
-- Returns the number of ended executions, and those of them that were created first, with their instants of creation.
-- constants: ENDED
local total, found = 0, {}
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  if ENDED[string.sub(name, 1, string.find(name, SEP, 1, true) - 1)] then
    total = total + call('ZCARD', T .. 'x:' .. name)
    for _, each in ipairs(call('ZRANGE', T .. 'x:' .. name, 0, wanted - 1, 'WITHSCORES')) do found[#found + 1] = each end
  end
end
return { total, found }
