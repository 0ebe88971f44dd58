-- Appends ARGV[from .. from + n - 1] to a log, in portions: Lua's stack holds about 8,000 values.
local function append(id, from, n)
  local key, last = T .. 'l:' .. id, from + n - 1
  while from <= last do
    local to = math.min(from + 999, last)
    call('RPUSH', key, unpack(ARGV, from, to))
    from = to + 1
  end
end
