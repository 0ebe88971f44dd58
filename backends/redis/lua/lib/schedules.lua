-- Schedules: a row as {id, fields} ({} if there is none), and the index `sw:WF` of due schedules by workflow.
-- Version 0.1 writes `sz` alone. So `sz` is the truth, and readers of `sw:WF` compare with it.
local function row(id)
  local fields = redis.pcall('HGETALL', T .. 's:' .. id)
  if fields.err then return { id, {} } end
  if #fields == 0 then return {} end
  return { id, fields }
end
local function set_next(id, workflow, at)
  if at then
    call('ZADD', T .. 'sz', at, id)
    call('ZADD', T .. 'sw:' .. workflow, at, id)
  else
    call('ZREM', T .. 'sz', id)
    call('ZREM', T .. 'sw:' .. workflow, id)
  end
end
-- Makes the index fit `sz`. Returns the due time of the schedule as text, nil if it has none or another workflow.
local function checked_next(id, workflow, indexed)
  local at = redis.pcall('HGET', T .. 's:' .. id, 'wf') == workflow and call('ZSCORE', T .. 'sz', id) or nil
  if at and at ~= indexed then
    call('ZADD', T .. 'sw:' .. workflow, at, id)
  elseif not at then
    call('ZREM', T .. 'sw:' .. workflow, id)
  end
  return at
end
