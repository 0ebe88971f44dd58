-- needs: base remove
-- 2 limit. How many were removed, and whether there are more.
local limit = tonumber(ARGV[2])
local ids = call('ZRANGEBYSCORE', T .. 'z', '-inf', NOW, 'LIMIT', 0, limit + 1)
for i = 1, math.min(limit, #ids) do remove(ids[i]) end
return { math.min(limit, #ids), #ids > limit and 1 or 0 }
