-- needs: base hmget remove
-- args: limit
-- Removes ended executions beyond their retention. Returns how many, and 1 if more are left.
limit = tonumber(limit)
local ids = call('ZRANGEBYSCORE', T .. 'z', '-inf', NOW, 'LIMIT', 0, limit + 1)
for i = 1, math.min(limit, #ids) do remove(ids[i]) end
return { math.min(limit, #ids), #ids > limit and 1 or 0 }
