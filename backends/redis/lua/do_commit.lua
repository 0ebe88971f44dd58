-- needs: base due log create arrive consume outbox finish deliver read
-- 2 id  3 token  4 expected  5 commit id  6 seen  7 then  8 lease  9 status  10 wake, result or input  11 error
-- 12 current  13 attempt  14 amendments  15.. numbers of entries, consumed, creates, cancels, owed, entries to
-- begin anew with; then these
local id, token, commit, seen, kind, lease = ARGV[2], ARGV[3], ARGV[5], tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8])
local e = T .. 'e:' .. id
local h = call('HMGET', e, 'tok', 'len', 'lc', 'ea', 'arr', 'due', 'st', 'wf', 'ca', 'q', 'v', 'lost', 'pri')
local length, arrivals, st = tonumber(h[2] or 0), tonumber(h[5] or 0), h[7]
if not st then return { 'F', 'it is gone' } end
if h[3] == commit then
  if h[1] ~= token then return { NOW, 1, {}, {}, {} } end
  return { NOW, 0, {}, news(id, arrivals, seen), {} }
end
if h[4] or h[1] ~= token then return { 'F', 'the lease has passed on' } end
if length ~= tonumber(ARGV[4]) then return { 'F', 'the log has ' .. length .. ' entries, not ' .. ARGV[4] } end

local counts = {}
for i = 15, 20 do counts[#counts + 1] = tonumber(ARGV[i]) end
local entries, consumed, creates, cancels, owes, anew = unpack(counts)
local i = 21
if entries > 0 then
  append(id, i, entries)
  i = i + entries
end
if entries > 0 then
  call('HSET', e, 'ua', NOW, 'lc', commit, 'len', length + entries)
else
  call('HSET', e, 'ua', NOW, 'lc', commit)
end
touch(id)
if h[12] then call('HDEL', e, 'lost') end
if ARGV[12] ~= '' then call('HSET', T .. 'p:' .. id, 'cur', ARGV[12]) end
if ARGV[13] ~= '' then call('HSET', e, 'at', ARGV[13]) end
if ARGV[14] ~= '0' then call('HINCRBY', e, 'am', ARGV[14]) end
consume(id, i, consumed)
i = i + consumed
for _ = 1, creates do i = create(i) end
for _ = 1, cancels do
  deliver(ARGV[i], '', 'cancel', '', 'null')
  i = i + 1
end
for n = 1, owes do
  owe('c' .. SEP .. id .. SEP .. commit .. SEP .. n, ARGV[i])
  i = i + 1
end
if cancels > 0 then -- One of them may have been a child that ended at once, or this very execution.
  local again = call('HMGET', e, 'arr', 'st')
  arrivals, st = tonumber(again[1] or 0), again[2]
end

local wf, ca, q, v, pri = h[8], h[9], h[10], h[11], h[13]
if kind == 'K' or (kind == 'P' and arrivals > seen) then
  local messages = arrivals > seen and news(id, arrivals, seen) or {}
  local due = tonumber(h[6])
  -- Moving the lease's end costs as much as all else, so a step that follows soon leaves it.
  if #messages > 0 and kind == 'P' or not due or now + lease > due + lease / 4 then
    set_due(id, q, wf, v, pri, now + lease)
  end
  if kind == 'K' or #messages > 0 then
    if #messages == 0 and #woken == 0 and #owed == 0 then return { NOW } end
    return { NOW, 0, woken, messages, owed }
  end
end
if kind == 'E' then
  finish(id, ARGV[9], ARGV[10], ARGV[11])
  return { NOW, 1, woken, {}, owed }
end
local status = kind == 'P' and ARGV[9] or 'pending'
call('HSET', e, 'st', status)
call('HDEL', e, 'tok', 'wk')
index(id, wf, ca, st, status)
if kind == 'P' then
  local at = tonumber(ARGV[10])
  set_due(id, q, wf, v, pri, at)
  if at and at <= now then wake(q) end
elseif kind == 'Y' then
  make_ready(id, q, wf, v, pri)
else
  call('HSET', T .. 'p:' .. id, 'in', ARGV[10])
  call('HINCRBY', e, 'run', 1)
  call('HDEL', e, 'len', 'at', 'am')
  call('HDEL', T .. 'p:' .. id, 'cur')
  call('UNLINK', T .. 'l:' .. id)
  append(id, i, anew)
  if anew > 0 then call('HSET', e, 'len', anew) end
  make_ready(id, q, wf, v, pri)
end
return { NOW, 1, woken, {}, owed }
