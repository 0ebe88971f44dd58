-- needs: base lanes log create read
-- args: block...
local _, fresh = create(block)
return fresh and { NOW } or { NOW, header(ARGV[block]) }
