-- A schedule's row: {id, fields}, or {} if there is none.
local function row(id)
  local fields = call('HGETALL', T .. 's:' .. id)
  if #fields == 0 then return {} end
  return { id, fields }
end
