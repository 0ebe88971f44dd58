-- needs: base hmget read candidates
-- args: workflow parent prefix updated_after updated_before due_before created_after created_before
-- args: position position_id wanted terms statuses...
-- Checks some hundred executions after the position, newest first. Returns those that match, and the new position.
-- constants: ENDED SCAN FEW
updated_after, updated_before, due_before = tonumber(updated_after), tonumber(updated_before), tonumber(due_before)
created_after, created_before, wanted = tonumber(created_after), tonumber(created_before), tonumber(wanted)
local wanted_terms, accepted, any = terms, {}, #ARGV < statuses
for i = statuses, #ARGV do accepted[ARGV[i]] = true end

-- The smallest index leads: the children, the executions with one of the terms, those of the statuses and the workflow, or
-- the candidates of the other filters.
local sources, least, total = {}, 0, 0
terms = {}
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  local at, size = string.find(name, SEP, 1, true), call('ZCARD', T .. 'x:' .. name)
  local st = string.sub(name, 1, at - 1)
  total = total + size
  if (any or accepted[st]) and (workflow == '' or string.sub(name, at + 1) == workflow) and not (due_before and ENDED[st]) then
    sources[#sources + 1] = T .. 'x:' .. name
    least = least + size
  end
end
local function consider(key)
  local size = call('ZCARD', key)
  if size <= least then sources, least = { key }, size end
end
for term in string.gmatch(wanted_terms, '[^\31]+') do
  terms[#terms + 1] = T .. 'k:' .. term
  consider(terms[#terms])
end
if parent ~= '' then consider(T .. 'y:' .. parent) end
local ids = candidates(math.min(FEW, least), total, prefix, updated_after, updated_before, due_before)

-- An execution's last change is never before its creation.
if updated_before and not (created_before and created_before < updated_before) then created_before = updated_before end
local max, min = '+inf', '-inf'
local from = tonumber(position)
local function after(score, id) return not from or score < from or (score == from and id < position_id) end
if created_before then max = '(' .. num(created_before) end
if created_after then min = '(' .. num(created_after) end
if from and not (created_before and created_before <= from) then max = position end

local function older(a, b)
  if a[1] ~= b[1] then return a[1] > b[1] end
  return a[2] > b[2]
end
local checked = ids or parent ~= '' or #terms > 0 or due_before or updated_after or updated_before
local function fits(id)
  if prefix ~= '' and string.sub(id, 1, #prefix) ~= prefix then return false end
  for _, key in ipairs(terms) do
    if not call('ZSCORE', key, id) then return false end
  end
  if not checked then return true end
  local h = hmget(id, 'st', 'wf', 'par', 'ua', 'due', 'ea')
  local ua, due = tonumber(h[4] or 0) or 0, tonumber(h[5])
  return (any or accepted[h[1]]) and (workflow == '' or h[2] == workflow) and (parent == '' or h[3] == parent)
    and (not updated_after or ua > updated_after) and (not updated_before or ua < updated_before)
    and (not due_before or (due and not h[6] and due < due_before))
end

local merged, fence = {}, nil
for _, id in ipairs(ids or {}) do
  if fits(id) then
    local score = tonumber(hmget(id, 'ca')[1] or 0) or 0
    if after(score, id) and (not created_after or score > created_after)
      and (not created_before or score < created_before) then
      merged[#merged + 1] = { score, id }
    end
  end
end
-- Each source gives a portion. Executions older than the newest end of a portion wait for the next call.
local portion = math.max(4, math.floor(SCAN / math.max(1, #sources)))
for _, key in ipairs(ids and {} or sources) do
  local offset, taken, more = 0, 0, true
  while taken < portion and more do
    local rows = call('ZREVRANGEBYSCORE', key, max, min, 'WITHSCORES', 'LIMIT', offset, portion)
    for i = 1, #rows, 2 do
      local score = tonumber(rows[i + 1])
      if after(score, rows[i]) then
        merged[#merged + 1] = { score, rows[i] }
        taken = taken + 1
      end
    end
    offset = offset + portion
    more = #rows == portion * 2
  end
  if more then
    local last = merged[#merged]
    if not fence or older(last, fence) then fence = last end
  end
end
table.sort(merged, older)

local found, last, done = {}, nil, not fence
for _, item in ipairs(merged) do
  if fence and older(fence, item) then break end
  if #found == wanted then
    done = false
    break
  end
  last = item
  if ids or fits(item[2]) then found[#found + 1] = header(item[2]) end
end
return { done and 1 or 0, last and num(last[1]) or position, last and last[2] or position_id, found }
