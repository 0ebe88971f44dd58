-- Candidate ids from the most selective index (`i` by id, `u` by last change, `d:LANE` by due time). nil if no index is
-- selective enough. nil also if `i` and `u` lack executions that an early version created.
-- constants: TICKS
local function between(key, least, most)
  return { call('ZCOUNT', key, least, most), function() return call('ZRANGEBYSCORE', key, least, most) end }
end
local function with_prefix(prefix)
  local key, first, last = T .. 'i', '[' .. prefix, '(' .. prefix .. '\255'
  return { call('ZLEXCOUNT', key, first, last), function() return call('ZRANGEBYLEX', key, first, last) end }
end
local function overdue(before)
  local lanes, total = {}, 0
  for _, name in ipairs(call('SMEMBERS', T .. 'lanes')) do
    lanes[#lanes + 1] = between(T .. 'd:' .. name, '-inf', '(' .. before)
    total = total + lanes[#lanes][1]
  end
  return { total, function()
    local ids = {}
    for _, each in ipairs(lanes) do
      for _, id in ipairs(each[2]()) do ids[#ids + 1] = id end
    end
    return ids
  end }
end
local function candidates(most, total, prefix, updated_after, updated_before, due_before)
  local best
  local function consider(index) if not best or index[1] < best[1] then best = index end end
  if prefix ~= '' then consider(with_prefix(prefix)) end
  if updated_after or updated_before then
    local from = updated_after and num((math.floor(updated_after * TICKS) - 1) / TICKS) or '-inf'
    consider(between(T .. 'u', from, updated_before and '(' .. num(updated_before) or '+inf'))
  end
  if best and (call('ZCARD', T .. 'i') ~= total or call('ZCARD', T .. 'u') ~= total) then best = nil end
  if due_before then consider(overdue(num(due_before))) end
  if best and best[1] <= most then return best[2]() end
end
