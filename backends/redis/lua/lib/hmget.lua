-- Fields of an execution; none of a key of another type.
local function hmget(id, ...)
  local h = redis.pcall('HMGET', T .. 'e:' .. id, ...)
  return h.err and {} or h
end
