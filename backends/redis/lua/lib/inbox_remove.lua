-- Removes the messages ARGV[from .. from + n - 1] from an inbox.
local function inbox_remove(id, from, n)
  local m, ends = T .. 'm:' .. id, T .. 'n:' .. id
  local any = n > 0 and call('EXISTS', ends) == 1
  for i = from, from + n - 1 do
    local message = any and call('HGET', m, ARGV[i])
    if message then
      local _, at, size = string.find(message, '^ended\31[^\31]*\31(%d+)\31')
      if at then call('HDEL', ends, string.sub(message, at + 1, at + size)) end
    end
    call('HDEL', m, ARGV[i])
  end
end
