-- needs: base
-- 2 name  3 info  4 ttl
call('HSET', T .. 'wh', ARGV[2], NOW .. SEP .. ARGV[3])
call('ZADD', T .. 'wz', num(now + tonumber(ARGV[4])), ARGV[2])
for _, name in ipairs(call('ZRANGEBYSCORE', T .. 'wz', '-inf', NOW, 'LIMIT', 0, 100)) do
  call('ZREM', T .. 'wz', name)
  call('HDEL', T .. 'wh', name)
end
return NOW
