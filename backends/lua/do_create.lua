-- needs: base due log create read
local _, fresh = create(2)
return { NOW, fresh and 1 or 0, header(ARGV[2]) }
