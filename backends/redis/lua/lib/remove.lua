-- Removes an ended execution from all keys and indexes.
local function remove(id)
  local e = T .. 'e:' .. id
  local h = call('HMGET', e, 'st', 'wf', 'par')
  if not h[1] then return end
  call('ZREM', T .. 'x:' .. h[1] .. SEP .. h[2], id)
  for _, key in ipairs({ 'i', 'u', 'z' }) do call('ZREM', T .. key, id) end
  if h[3] then call('ZREM', T .. 'y:' .. h[3], id) end
  for term in string.gmatch(call('HGET', T .. 'p:' .. id, 'mt') or '', '[^\31]+') do call('ZREM', T .. 'k:' .. term, id) end
  for _, kind in ipairs({ 'e:', 'p:', 'l:', 'm:', 'n:', 'a:', 'w:' }) do call('UNLINK', T .. kind .. id) end
end
