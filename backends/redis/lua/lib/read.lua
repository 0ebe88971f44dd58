-- Reads an execution: its id, and both halves of its header as flat lists; and its messages after `seen`.
local function half(key)
  local h = redis.pcall('HGETALL', T .. key)
  return h.err and {} or h
end
local function header(id) return { id, half('e:' .. id), half('p:' .. id) } end
local function messages_after(id, seen, arrivals)
  local found, m = {}, T .. 'm:' .. id
  for seq = seen + 1, arrivals do
    local message = call('HGET', m, seq)
    if message then
      found[#found + 1] = tostring(seq)
      found[#found + 1] = message
    end
  end
  return found
end
