-- needs: base read
-- 2 due before. All executions due before an instant if they are few ({1, headers}); {0} if they are not.
local FEW = 512
local ids = {}
for _, name in ipairs(call('SMEMBERS', T .. 'lanes')) do
  local found = call('ZRANGEBYSCORE', T .. 'd:' .. name, '-inf', '(' .. ARGV[2], 'LIMIT', 0, FEW)
  for _, id in ipairs(found) do ids[#ids + 1] = id end
  if #ids >= FEW then return { 0, {} } end
end
for i, id in ipairs(ids) do ids[i] = header(id) end
return { 1, ids }
