-- needs: base hmget lanes read schedules damage
-- args: nonce worker limit lease revive round n_lanes n_workflows values...
-- `values` are the lanes and the workflows. A claim from several shards has a second round for shards that have more.
-- The record of a nonce holds the rounds that took something, and the ids taken. A repeated round takes nothing more.
-- A repeated first round returns the leases of both. Round 0 takes nothing: the client knows that it is a repetition.
-- constants: MAX_LOST CRASH_LOOP_DELAY PRIORITY_STEP OUTBOX_LIMIT OUTBOX_RETRY REVIVE_LIMIT MOVE_LIMIT RECORD_FOR
-- constants: SCHEDULE_LIMIT
limit, lease = tonumber(limit), tonumber(lease)
local record = T .. 'c:' .. nonce
local lanes, knows = {}, {}
for i = values, values + n_lanes - 1 do lanes[#lanes + 1] = ARGV[i] end
for i = values + n_lanes, values + n_lanes + n_workflows - 1 do knows[ARGV[i]] = true end

local taken, since, repeated, next_due = {}, {}, round == '0', nil
local function later(at) if not next_due or at < next_due then next_due = at end end

for _, item in ipairs(call('LRANGE', record, 0, -1)) do
  if string.sub(item, -1) == SEP then
    if round == '1' or item == round .. SEP then repeated = true end
  elseif hmget(item, 'tok')[1] == nonce then
    taken[#taken + 1] = item
  end
end
if not repeated then taken = {} end

if not repeated and revive == '1' then
  local mine = {}
  for _, name in ipairs(lanes) do mine[name] = true end
  for workflow in pairs(knows) do
    for _, id in ipairs(call('ZRANGE', T .. 'x:stuck' .. SEP .. workflow, 0, REVIVE_LIMIT - 1)) do
      local h = hmget(id, 'q', 'v', 'lost', 'pri')
      if h[1] and h[2] and mine[h[1] .. SEP .. workflow .. SEP .. h[2]] and (tonumber(h[3] or 0) or MAX_LOST) < MAX_LOST - 1 then
        set_due(id, h[1], workflow, h[2], h[4], now)
      end
    end
  end
end
if not repeated then -- Move due timers ahead according to their priority.
  for _, id in ipairs(call('ZRANGEBYSCORE', T .. 't', '-inf', NOW, 'LIMIT', 0, MOVE_LIMIT)) do
    local h = hmget(id, 'q', 'wf', 'v', 'pri', 'due')
    if h[1] and h[2] and h[3] and is_number(h[4]) and is_number(h[5]) then
      set_due(id, h[1], h[2], h[3], h[4], tonumber(h[5]) - tonumber(h[4]) * PRIORITY_STEP)
    else
      call('ZREM', T .. 't', id) -- damaged: it is set aside from its lane
    end
  end
end

local ready = {}
for n, name in ipairs(lanes) do
  local found = call('ZRANGE', T .. 'd:' .. name, 0, limit + 7, 'WITHSCORES')
  for i = 1, #found, 2 do
    local due = tonumber(found[i + 1])
    if due > now or repeated then
      later(due)
      break
    end
    ready[#ready + 1] = { found[i], due, n * 100000 + i, name }
  end
end
table.sort(ready, function(a, b)
  if a[2] ~= b[2] then return a[2] < b[2] end
  return a[3] < b[3]
end)

local got, damaged = {}, {}
for _, candidate in ipairs(ready) do
  local id = candidate[1]
  if #got == limit then
    later(candidate[2])
    break
  end
  local own_q, own_wf, own_v = string.match(candidate[4], '^([^\31]*)\31([^\31]*)\31([^\31]*)$')
  local why = damage_of(id, own_q, own_wf, own_v)
  if why then
    set_aside(id, candidate[4], own_wf, own_q, own_v, why)
    damaged[#damaged + 1] = id
    damaged[#damaged + 1] = why
  else
    local e = T .. 'e:' .. id
    local h = call('HMGET', e, 'st', 'wf', 'ca', 'q', 'v', 'tok', 'lost', 'cn', 'pri')
    local st, wf, ca, q, v, lost = h[1], h[2], h[3], h[4], h[5], tonumber(h[7] or 0)
    if h[6] and lost + 1 >= MAX_LOST then
      call('HSET', e, 'st', 'stuck', 'ua', NOW, 'lost', MAX_LOST - 1)
      call('HSET', T .. 'p:' .. id, 'cur', '[{"kind":"crash_loop"}]')
      call('HDEL', e, 'tok', 'wk')
      touch(id)
      index(id, wf, ca, st, 'stuck')
      set_due(id, q, wf, v, h[9], now + CRASH_LOOP_DELAY)
      later(now + CRASH_LOOP_DELAY)
    else
      local status = h[8] and call('HEXISTS', T .. 'm:' .. id, h[8]) == 1 and 'cancelling' or 'running'
      call('HSET', e, 'st', status, 'ua', NOW, 'tok', nonce, 'wk', worker)
      if h[6] then call('HSET', e, 'lost', lost + 1) end
      touch(id)
      index(id, wf, ca, st, status)
      set_due(id, q, wf, v, h[9], now + lease)
      later(now + lease)
      got[#got + 1] = id
      since[id] = num(candidate[2])
      taken[#taken + 1] = id
    end
  end
end
if #got > 0 then
  call('RPUSH', record, round .. SEP)
  for from = 1, #got, 1000 do call('RPUSH', record, unpack(got, from, math.min(from + 999, #got))) end
  call('PEXPIRE', record, math.floor(math.max(lease * 2, RECORD_FOR) * 1000))
end

local claimed = {}
for i, id in ipairs(taken) do
  local x = header(id)
  x[4] = half('m:' .. id)
  x[5] = since[id] or '0'
  claimed[i] = x
end

-- Due schedules of the known workflows, earliest first. Others are not even looked at, so they never hide these.
local due, schedules = {}, {}
for workflow in pairs(call('EXISTS', T .. 'sz') == 1 and knows or {}) do
  local function look(least, most, limit)
    local rows = call('ZRANGEBYSCORE', T .. 'sw:' .. workflow, least, most, 'WITHSCORES', 'LIMIT', 0, limit)
    for i = 1, #rows, 2 do
      local score = checked_next(rows[i], workflow, rows[i + 1])
      local at = score and tonumber(score)
      if at and at > now then later(at) elseif at then due[#due + 1] = { rows[i], at } end
    end
  end
  look('-inf', NOW, SCHEDULE_LIMIT)
  look('(' .. NOW, '+inf', 1)
end
table.sort(due, function(a, b)
  if a[2] ~= b[2] then return a[2] < b[2] end
  return a[1] < b[1]
end)
for i = 1, math.min(#due, SCHEDULE_LIMIT) do schedules[i] = row(due[i][1]) end

local outbox = {}
for _, item in ipairs(call('ZRANGEBYSCORE', T .. 'oz', '-inf', NOW, 'LIMIT', 0, OUTBOX_LIMIT)) do
  outbox[#outbox + 1] = item
  outbox[#outbox + 1] = call('HGET', T .. 'o', item)
  call('ZADD', T .. 'oz', num(now + OUTBOX_RETRY), item)
end
return { NOW, next_due and num(next_due) or '', repeated and 1 or 0, claimed, schedules, outbox, damaged }
