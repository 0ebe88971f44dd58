-- needs: base hmget lanes log inbox_add outbox finish read
-- args: id nonce expected action status result err attempt amendments n_statuses n_entries values...
-- `action` is 'E' (end) or '' (make due). `values` are the accepted statuses, then the entries.
local e = T .. 'e:' .. id
local h = call('HMGET', e, 'st', 'len', 'lc', 'wf', 'ca', 'q', 'v', 'pri')
local st, length = h[1], tonumber(h[2] or 0)
if not st then return { NOW, 'unknown' } end
if h[3] == nonce then return { NOW, 'ok', header(id), woken, outbox } end
local fits, n = false, tonumber(n_entries)
for i = values, values + n_statuses - 1 do fits = fits or ARGV[i] == st end
if not fits or length ~= tonumber(expected) then return { NOW, 'refused', st, length } end
append(id, values + n_statuses, n)
call('HSET', e, 'lc', nonce, 'ua', NOW)
touch(id)
if n > 0 then call('HSET', e, 'len', length + n) end
if attempt ~= '' then call('HSET', e, 'at', attempt) end
if amendments ~= '0' then call('HINCRBY', e, 'am', amendments) end
call('HDEL', e, 'tok', 'wk')
if action == 'E' then
  finish(id, status, result, err)
else
  call('HSET', e, 'st', 'pending')
  index(id, h[4], h[5], st, 'pending')
  call('HDEL', e, 'ea', 'dl', 'lost')
  call('HDEL', T .. 'p:' .. id, 'res', 'err')
  call('ZREM', T .. 'z', id)
  call('PERSIST', T .. 'a:' .. id)
  make_ready(id, h[6], h[4], h[7], h[8])
end
return { NOW, 'ok', header(id), woken, outbox }
