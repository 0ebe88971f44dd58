-- needs: base
-- args: name info ttl
-- constants: EXPIRE_LIMIT
call('HSET', T .. 'wh', name, NOW .. SEP .. info)
call('ZADD', T .. 'wz', num(now + tonumber(ttl)), name)
for _, expired in ipairs(call('ZRANGEBYSCORE', T .. 'wz', '-inf', NOW, 'LIMIT', 0, EXPIRE_LIMIT)) do
  call('ZREM', T .. 'wz', expired)
  call('HDEL', T .. 'wh', expired)
end
return NOW
