-- The outbox: this transition's deliveries to other shards. An item stays until its delivery is confirmed (forget.lua).
-- The process that caused it delivers at once. Other processes see it after OUTBOX_DELAY seconds. `fields` writes the
-- values like netstrings; scripts never read them.
-- constants: OUTBOX_DELAY
local outbox = {}
local function outbox_add(item, value)
  call('HSET', T .. 'o', item, value)
  call('ZADD', T .. 'oz', num(now + OUTBOX_DELAY), item)
  outbox[#outbox + 1] = item
  outbox[#outbox + 1] = value
end
local function fields(...)
  local out = {}
  for i, value in ipairs({ ... }) do out[i] = #value .. ':' .. value end
  return table.concat(out)
end
