-- needs: base schedules
-- Completes the indexes `sw:WF` with schedules that version 0.1 wrote.
for _, id in ipairs(call('ZRANGE', T .. 'sz', 0, -1)) do
  local workflow = redis.pcall('HGET', T .. 's:' .. id, 'wf')
  if type(workflow) == 'string' then checked_next(id, workflow, call('ZSCORE', T .. 'sw:' .. workflow, id)) end
end
return 1
