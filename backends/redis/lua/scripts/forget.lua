-- needs: base
-- args: item
call('HDEL', T .. 'o', item)
call('ZREM', T .. 'oz', item)
return 1
