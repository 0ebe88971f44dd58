-- needs: base hmget lanes log create inbox_add inbox_remove outbox finish deliver read
-- args: id token expected commit_id seen action lease status value err progress attempt amendments
-- args: n_entries n_consumed n_creates n_cancels n_outbox n_restart values...
-- `action` is K (keep the lease), P (suspend), Y (release), E (end) or R (restart). `value` is the wake-up time of P, the
-- result of E or the input of R. `values` are what the counts say, in their order; R's new log comes last.
-- constants: TICKS LEASE_LEFT
seen, lease = tonumber(seen), tonumber(lease)
local e = T .. 'e:' .. id
local h = call('HMGET', e, 'tok', 'len', 'lc', 'ea', 'arr', 'due', 'st', 'wf', 'ca', 'q', 'v', 'lost', 'pri', 'ua', 'cn')
local length, arrivals, st = tonumber(h[2] or 0), tonumber(h[5] or 0), h[7]
if not st then return { 'F', 'it is gone' } end
if h[3] == commit_id then
  if h[1] ~= token then return { NOW, 1, {}, {}, {} } end
  return { NOW, 0, {}, messages_after(id, seen, arrivals), {} }
end
if h[4] or h[1] ~= token then return { 'F', 'the lease has passed on' } end
if length ~= tonumber(expected) then return { 'F', 'the log has ' .. length .. ' entries, not ' .. expected } end
if (action == 'E' or action == 'R') and tonumber(h[15] or 0) > seen then -- The session records the cancel first.
  return { NOW, 0, {}, messages_after(id, seen, arrivals), {} }
end

local i, entries = values, tonumber(n_entries)
if entries > 0 then
  append(id, i, entries)
  i = i + entries
  call('HSET', e, 'ua', NOW, 'lc', commit_id, 'len', length + entries)
else
  call('HSET', e, 'ua', NOW, 'lc', commit_id)
end
if math.floor(now * TICKS) ~= math.floor(h[14] * TICKS) then touch(id) end
if h[12] then call('HDEL', e, 'lost') end
if progress ~= '' then call('HSET', T .. 'p:' .. id, 'cur', progress) end
if attempt ~= '' then call('HSET', e, 'at', attempt) end
if amendments ~= '0' then call('HINCRBY', e, 'am', amendments) end
inbox_remove(id, i, tonumber(n_consumed))
i = i + n_consumed
for _ = 1, n_creates do i = create(i) end
for _ = 1, n_cancels do
  deliver(ARGV[i], '', 'cancel', id, 'null')
  i = i + 1
end
for n = 1, n_outbox do
  outbox_add('c' .. SEP .. id .. SEP .. commit_id .. SEP .. n, ARGV[i])
  i = i + 1
end
if n_cancels ~= '0' then -- One of them may have been a child that ended at once, or this very execution.
  local again = call('HMGET', e, 'arr', 'st')
  arrivals, st = tonumber(again[1] or 0), again[2]
end

local wf, ca, q, v, pri = h[8], h[9], h[10], h[11], h[13]
if action == 'K' or (action == 'P' and arrivals > seen) then
  local messages = arrivals > seen and messages_after(id, seen, arrivals) or {}
  local due = tonumber(h[6])
  -- Moving the lease's end costs as much as all else, so a step that follows soon leaves it.
  if #messages > 0 and action == 'P' or not due or now > due - lease * LEASE_LEFT then
    set_due(id, q, wf, v, pri, now + lease)
  end
  if action == 'K' or #messages > 0 then
    if #messages == 0 and #woken == 0 and #outbox == 0 then return { NOW } end
    return { NOW, 0, woken, messages, outbox }
  end
end
if action == 'E' then
  finish(id, status, value, err)
  return { NOW, 1, woken, {}, outbox }
end
local new = action == 'P' and status or 'pending'
call('HSET', e, 'st', new)
call('HDEL', e, 'tok', 'wk')
index(id, wf, ca, st, new)
if action == 'P' then
  local at = tonumber(value)
  set_due(id, q, wf, v, pri, at)
  if at and at <= now then wake(q) end
elseif action == 'Y' then
  make_ready(id, q, wf, v, pri)
else
  local restart = tonumber(n_restart)
  call('HSET', T .. 'p:' .. id, 'in', value)
  call('HINCRBY', e, 'run', 1)
  call('HDEL', e, 'len', 'at', 'am')
  call('HDEL', T .. 'p:' .. id, 'cur')
  call('UNLINK', T .. 'l:' .. id)
  append(id, i, restart)
  if restart > 0 then call('HSET', e, 'len', restart) end
  make_ready(id, q, wf, v, pri)
end
return { NOW, 1, woken, {}, outbox }
