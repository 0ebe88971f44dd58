-- Removes an ended or damaged execution from all keys and indexes.
local function remove(id)
  local h = hmget(id, 'st', 'wf', 'par', 'ea')
  if h[1] and h[2] then call('ZREM', T .. 'x:' .. h[1] .. SEP .. h[2], id) end
  if not h[4] then -- it is damaged, so its fields lead nowhere
    for _, name in ipairs(call('SMEMBERS', T .. 'x')) do call('ZREM', T .. 'x:' .. name, id) end
    for _, name in ipairs(call('SMEMBERS', T .. 'lanes')) do call('ZREM', T .. 'd:' .. name, id) end
    call('ZREM', T .. 't', id)
  end
  for _, key in ipairs({ 'i', 'u', 'z' }) do call('ZREM', T .. key, id) end
  if h[3] then call('ZREM', T .. 'y:' .. h[3], id) end
  local terms = redis.pcall('HGET', T .. 'p:' .. id, 'mt')
  for term in string.gmatch(type(terms) == 'string' and terms or '', '[^\31]+') do call('ZREM', T .. 'k:' .. term, id) end
  for _, kind in ipairs({ 'e:', 'p:', 'l:', 'm:', 'n:', 'a:', 'w:' }) do call('UNLINK', T .. kind .. id) end
end
