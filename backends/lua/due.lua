-- Lanes (who is due when, by queue, workflow and version) and the index of executions by status and workflow.
local woken, awake = {}, {}
local function wake(queue)
  if not awake[queue] then
    awake[queue] = true
    woken[#woken + 1] = queue
  end
end
local function lane(q, wf, v) return T .. 'd:' .. q .. SEP .. wf .. SEP .. v end
local function set_due(id, q, wf, v, at)
  if at then
    local score = num(at)
    call('HSET', T .. 'e:' .. id, 'due', score)
    call('ZADD', lane(q, wf, v), score, id)
  else
    call('HDEL', T .. 'e:' .. id, 'due')
    call('ZREM', lane(q, wf, v), id)
  end
end
-- One level of priority is 1,000,000 seconds: requests.PRIORITY_STEP.
local function make_ready(id, q, wf, v, pri)
  set_due(id, q, wf, v, now - (tonumber(pri) or 0) * 1000000)
  wake(q)
end
local function index(id, wf, ca, old, new)
  if old ~= new then
    call('SADD', T .. 'x', new .. SEP .. wf)
    call('ZADD', T .. 'x:' .. new .. SEP .. wf, ca, id)
    if old then call('ZREM', T .. 'x:' .. old .. SEP .. wf, id) end
  end
end
