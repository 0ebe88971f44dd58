-- needs: base
-- args: workflow
local found = {}
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  local at = string.find(name, SEP, 1, true)
  if workflow == '' or string.sub(name, at + 1) == workflow then
    found[#found + 1] = string.sub(name, 1, at - 1)
    found[#found + 1] = call('ZCARD', T .. 'x:' .. name)
  end
end
return found
