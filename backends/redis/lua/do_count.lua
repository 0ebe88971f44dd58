-- needs: base
-- 2 workflow or ''
local found = {}
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  local at = string.find(name, SEP, 1, true)
  if ARGV[2] == '' or string.sub(name, at + 1) == ARGV[2] then
    found[#found + 1] = string.sub(name, 1, at - 1)
    found[#found + 1] = call('ZCARD', T .. 'x:' .. name)
  end
end
return found
