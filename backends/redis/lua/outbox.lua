-- What this transition owes to other shards. Kept until somebody has delivered it; whoever asked tries at once, so
-- that others see it only after OUTBOX_DELAY seconds. Values are netstring-like fields, opaque here.
local OUTBOX_DELAY = 5
local owed = {}
local function owe(item, value)
  call('HSET', T .. 'o', item, value)
  call('ZADD', T .. 'oz', num(now + OUTBOX_DELAY), item)
  owed[#owed + 1] = item
  owed[#owed + 1] = value
end
local function fields(...)
  local out = {}
  for i, value in ipairs({ ... }) do out[i] = #value .. ':' .. value end
  return table.concat(out)
end
