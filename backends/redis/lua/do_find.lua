-- needs: base read few
-- 2 workflow  3 parent  4 prefix  5 updated after  6 updated before  7 due before  8 created after  9 created before
-- 10 position's instant  11 position's id  12 wanted  13 terms of metadata  14.. statuses
-- Answers what fits among some hundred executions after the position, newest first, and the position it came to.
local SCAN, FEW = 512, 5000
local wf, parent, prefix, pos, pos_id = ARGV[2], ARGV[3], ARGV[4], ARGV[10], ARGV[11]
local updated_after, updated_before, due_before = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local created_after, created_before = tonumber(ARGV[8]), tonumber(ARGV[9])
local wanted = tonumber(ARGV[12])
local statuses, any = {}, #ARGV < 14
for i = 14, #ARGV do statuses[ARGV[i]] = true end
local ENDED = { completed = true, failed = true, cancelled = true, compensation_failed = true }

-- Whichever has fewest leads: the children, those with one of the terms, those of the statuses and the workflow, or those
-- whom an index of the other filters leads to.
local sources, terms, least, total = {}, {}, 0, 0
for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
  local at, size = string.find(name, SEP, 1, true), call('ZCARD', T .. 'x:' .. name)
  local st = string.sub(name, 1, at - 1)
  total = total + size
  if (any or statuses[st]) and (wf == '' or string.sub(name, at + 1) == wf) and not (due_before and ENDED[st]) then
    sources[#sources + 1] = T .. 'x:' .. name
    least = least + size
  end
end
local function consider(key)
  local size = call('ZCARD', key)
  if size <= least then sources, least = { key }, size end
end
for term in string.gmatch(ARGV[13], '[^\31]+') do
  terms[#terms + 1] = T .. 'k:' .. term
  consider(terms[#terms])
end
if parent ~= '' then consider(T .. 'y:' .. parent) end
local ids = few(math.min(FEW, least), total, prefix, updated_after, updated_before, due_before)

-- Nobody was changed before he was created.
if updated_before and not (created_before and created_before < updated_before) then created_before = updated_before end
local position = tonumber(pos)
local function after(score, id) return not position or score < position or (score == position and id < pos_id) end
local max, min = '+inf', '-inf'
if created_before then max = '(' .. num(created_before) end
if created_after then min = '(' .. num(created_after) end
if position and not (created_before and created_before <= position) then max = pos end

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
  local h = call('HMGET', T .. 'e:' .. id, 'st', 'wf', 'par', 'ua', 'due', 'ea')
  local ua, due = tonumber(h[4]), tonumber(h[5])
  return (any or statuses[h[1]]) and (wf == '' or h[2] == wf) and (parent == '' or h[3] == parent)
    and (not updated_after or ua > updated_after) and (not updated_before or ua < updated_before)
    and (not due_before or (due and not h[6] and due < due_before))
end

local merged, fence = {}, nil
for _, id in ipairs(ids or {}) do
  if fits(id) then
    local score = tonumber(call('HGET', T .. 'e:' .. id, 'ca'))
    if after(score, id) and (not created_after or score > created_after)
      and (not created_before or score < created_before) then
      merged[#merged + 1] = { score, id }
    end
  end
end
-- Each source gives a portion; what is older than the youngest end of a portion must wait for the next call.
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
return { done and 1 or 0, last and num(last[1]) or pos, last and last[2] or pos_id, found }
