-- needs: base due log create arrive outbox finish deliver schedule
-- 2 id  3 expected  4 workflow  5 spec  6 state  7 next at  8 paused  9.. numbers of creates, cancels, owed; then these
local id, s = ARGV[2], T .. 's:' .. ARGV[2]
local version = tonumber(call('HGET', s, 'ver') or 0)
if version ~= tonumber(ARGV[3]) then return { NOW, 0, row(id), {}, {} } end
call('HSET', s, 'wf', ARGV[4], 'spec', ARGV[5], 'state', ARGV[6], 'next', ARGV[7], 'paused', ARGV[8], 'ver', version + 1)
call('ZADD', T .. 'sn', 0, id)
if ARGV[7] ~= '' and ARGV[8] == '0' then
  call('ZADD', T .. 'sz', ARGV[7], id)
else
  call('ZREM', T .. 'sz', id)
end
local i, creates, cancels, owes = 12, tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
-- Cancels stand behind the creates but come first: a tick may take its predecessor's place.
local blocks = {}
for n = 1, creates do
  blocks[n] = i
  i = i + 15 + ARGV[i + 14]
end
for _ = 1, cancels do
  deliver(ARGV[i], '', 'cancel', '', 'null')
  i = i + 1
end
for _, block in ipairs(blocks) do create(block) end
for n = 1, owes do
  owe('s' .. SEP .. id .. SEP .. version .. SEP .. NOW .. SEP .. n, ARGV[i])
  i = i + 1
end
return { NOW, 1, row(id), woken, owed }
