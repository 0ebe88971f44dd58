-- needs: base due log arrive outbox finish read
-- 2 id  3 nonce  4 expected  5 then ('' or 'E')  6 status  7 result  8 error  9 attempt  10 amendments
-- 11 number of statuses  12 number of entries; then these
local id = ARGV[2]
local e = T .. 'e:' .. id
local h = call('HMGET', e, 'st', 'len', 'lc', 'wf', 'ca', 'q', 'v', 'pri')
local st, length = h[1], tonumber(h[2] or 0)
if not st then return { NOW, 'unknown' } end
if h[3] == ARGV[3] then return { NOW, 'ok', header(id), woken, owed } end
local fits, n = false, tonumber(ARGV[12])
for i = 13, 12 + ARGV[11] do fits = fits or ARGV[i] == st end
if not fits or length ~= tonumber(ARGV[4]) then return { NOW, 'refused', st, length } end
append(id, 13 + ARGV[11], n)
call('HSET', e, 'lc', ARGV[3], 'ua', NOW)
touch(id)
if n > 0 then call('HSET', e, 'len', length + n) end
if ARGV[9] ~= '' then call('HSET', e, 'at', ARGV[9]) end
if ARGV[10] ~= '0' then call('HINCRBY', e, 'am', ARGV[10]) end
call('HDEL', e, 'tok', 'wk')
if ARGV[5] == 'E' then
  finish(id, ARGV[6], ARGV[7], ARGV[8])
else
  call('HSET', e, 'st', 'pending')
  index(id, h[4], h[5], st, 'pending')
  call('HDEL', e, 'ea', 'dl', 'lost')
  call('HDEL', T .. 'p:' .. id, 'res', 'err')
  call('ZREM', T .. 'z', id)
  call('PERSIST', T .. 'a:' .. id)
  make_ready(id, h[6], h[4], h[7], h[8])
end
return { NOW, 'ok', header(id), woken, owed }
