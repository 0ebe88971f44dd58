-- needs: base hmget lanes log create inbox_add outbox finish deliver schedules
-- args: id expected workflow spec state next_at paused n_creates n_cancels n_outbox values...
-- `values` are the creates, the cancels and the outbox values. The cancels happen first: a tick may replace its predecessor.
-- constants: CREATE_SIZE
local s = T .. 's:' .. id
local h = call('HMGET', s, 'ver', 'wf')
local version = tonumber(h[1] or 0)
if version ~= tonumber(expected) then return { NOW, 0, row(id), {}, {} } end
call('HSET', s, 'wf', workflow, 'spec', spec, 'state', state, 'next', next_at, 'paused', paused, 'ver', version + 1)
call('ZADD', T .. 'sn', 0, id)
if h[2] and h[2] ~= workflow then set_next(id, h[2], nil) end
set_next(id, workflow, next_at ~= '' and paused == '0' and next_at or nil)
local i, blocks = values, {}
for n = 1, n_creates do
  blocks[n] = i
  i = i + CREATE_SIZE + ARGV[i + CREATE_SIZE - 1]
end
for _ = 1, n_cancels do
  deliver(ARGV[i], '', 'cancel', '', 'null')
  i = i + 1
end
for _, block in ipairs(blocks) do create(block) end
for n = 1, n_outbox do
  outbox_add('s' .. SEP .. id .. SEP .. version .. SEP .. NOW .. SEP .. n, ARGV[i])
  i = i + 1
end
return { NOW, 1, row(id), woken, outbox }
