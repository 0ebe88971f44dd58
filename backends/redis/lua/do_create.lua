-- needs: base due log create read
local _, fresh = create(2)
return fresh and { NOW } or { NOW, header(ARGV[2]) }
