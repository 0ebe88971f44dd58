-- needs: base read
if call('EXISTS', T .. 'e:' .. ARGV[2]) == 0 then return { NOW } end
return { NOW, header(ARGV[2]) }
