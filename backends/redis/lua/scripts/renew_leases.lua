-- needs: base hmget lanes
-- args: lease values...
-- `values` are id, token and seen of each lease. Returns the lost leases and those with messages beyond `seen`.
local lost, fresh = {}, {}
for i = values, #ARGV, 3 do
  local id = ARGV[i]
  local h = hmget(id, 'tok', 'q', 'wf', 'v', 'arr', 'pri')
  if h[1] ~= ARGV[i + 1] or not (h[2] and h[3] and h[4] and tonumber(h[5] or 0)) then
    lost[#lost + 1] = id
  else
    set_due(id, h[2], h[3], h[4], h[6], now + tonumber(lease))
    if tonumber(h[5] or 0) > tonumber(ARGV[i + 2]) then fresh[#fresh + 1] = id end
  end
end
return { NOW, lost, fresh }
