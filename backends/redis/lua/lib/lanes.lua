-- Due times and indexes: the lanes, the timers `t` of executions with a priority (a claim moves them ahead when they are
-- due), the indexes by status and workflow, and the index by last change.
-- constants: PRIORITY_STEP
local woken, awake = {}, {}
local function wake(queue)
  if not awake[queue] then
    awake[queue] = true
    woken[#woken + 1] = queue
  end
end
local function lane(q, wf, v) return T .. 'd:' .. q .. SEP .. wf .. SEP .. v end
local function set_due(id, q, wf, v, pri, at)
  if at then
    local score = num(at)
    call('HSET', T .. 'e:' .. id, 'due', score)
    call('ZADD', lane(q, wf, v), score, id)
    if pri and tonumber(pri) > 0 then
      if at > now - PRIORITY_STEP then call('ZADD', T .. 't', score, id) else call('ZREM', T .. 't', id) end
    end
  else
    call('HDEL', T .. 'e:' .. id, 'due')
    call('ZREM', lane(q, wf, v), id)
    if pri then call('ZREM', T .. 't', id) end
  end
end
local function make_ready(id, q, wf, v, pri)
  set_due(id, q, wf, v, pri, now - (tonumber(pri) or 0) * PRIORITY_STEP)
  wake(q)
end
local function touch(id) call('ZADD', T .. 'u', NOW, id) end
local function index(id, wf, ca, old, new)
  if old ~= new then
    call('SADD', T .. 'x', new .. SEP .. wf)
    call('ZADD', T .. 'x:' .. new .. SEP .. wf, ca, id)
    if old then call('ZREM', T .. 'x:' .. old .. SEP .. wf, id) end
  end
end
