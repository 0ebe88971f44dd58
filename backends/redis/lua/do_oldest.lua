-- needs: base
-- 2 wanted. How many executions have ended, and of these the ones created first, with their instants.
local ENDED = { completed = true, failed = true, cancelled = true, compensation_failed = true }
local total, found = 0, {}
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  if ENDED[string.sub(name, 1, string.find(name, SEP, 1, true) - 1)] then
    total = total + call('ZCARD', T .. 'x:' .. name)
    for _, each in ipairs(call('ZRANGE', T .. 'x:' .. name, 0, ARGV[2] - 1, 'WITHSCORES')) do found[#found + 1] = each end
  end
end
return { total, found }
