-- An execution as its readers want it: id, the two halves of the header, each as a flat list.
local function header(id) return { id, call('HGETALL', T .. 'e:' .. id), call('HGETALL', T .. 'p:' .. id) } end
local function news(id, arrivals, seen)
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
