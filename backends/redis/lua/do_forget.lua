-- needs: base
call('HDEL', T .. 'o', ARGV[2])
call('ZREM', T .. 'oz', ARGV[2])
return 1
