-- Who the indexes lead to: `i` has all ids in their order, `u` who changed when, `d:LANE` who is due when. nil if none that
-- is asked for is so short, or if `i` and `u` are not whole (executions that an older version has made are not in them).
local TICKS = 10 -- in a second: do_keep.lua moves an execution in `u` once in each
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
local function few(most, total, prefix, updated_after, updated_before, due_before)
  local least
  local function consider(leader) if not least or leader[1] < least[1] then least = leader end end
  if prefix ~= '' then consider(with_prefix(prefix)) end
  if updated_after or updated_before then
    local from = updated_after and num((math.floor(updated_after * TICKS) - 1) / TICKS) or '-inf'
    consider(between(T .. 'u', from, updated_before and '(' .. num(updated_before) or '+inf'))
  end
  if least and (call('ZCARD', T .. 'i') ~= total or call('ZCARD', T .. 'u') ~= total) then least = nil end
  if due_before then consider(overdue(num(due_before))) end
  if least and least[1] <= most then return least[2]() end
end
