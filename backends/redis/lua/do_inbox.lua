-- needs: base
if call('EXISTS', T .. 'e:' .. ARGV[2]) == 0 then return { NOW } end
return { NOW, call('HGETALL', T .. 'm:' .. ARGV[2]) }
