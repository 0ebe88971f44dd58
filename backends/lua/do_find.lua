-- needs: base read
-- 2 workflow  3 parent  4 prefix  5 updated after  6 updated before  7 due before  8 created after  9 created before
-- 10 position's instant  11 position's id  12 wanted  13 terms of metadata  14.. statuses
-- Answers what fits among some hundred executions after the position, newest first, and the position it came to.
local SCAN = 512
local wf, parent, prefix, pos, pos_id = ARGV[2], ARGV[3], ARGV[4], ARGV[10], ARGV[11]
local updated_after, updated_before, due_before = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local wanted = tonumber(ARGV[12])
local statuses, any = {}, #ARGV < 14
for i = 14, #ARGV do statuses[ARGV[i]] = true end
local ENDED = { completed = true, failed = true, cancelled = true, compensation_failed = true }

local sources, terms = {}, {}
for term in string.gmatch(ARGV[13], '[^\31]+') do terms[#terms + 1] = T .. 'k:' .. term end
if parent ~= '' then
  sources[1] = T .. 'y:' .. parent
else
  for _, name in ipairs(call('SMEMBERS', T .. 'x')) do
    local at = string.find(name, SEP, 1, true)
    local st = string.sub(name, 1, at - 1)
    if (any or statuses[st]) and (wf == '' or string.sub(name, at + 1) == wf) and not (due_before and ENDED[st]) then
      sources[#sources + 1] = T .. 'x:' .. name
    end
  end
  -- Whichever has fewer leads: those with one of the terms, or those of the statuses and the workflow.
  local least = 0
  for _, key in ipairs(sources) do least = least + call('ZCARD', key) end
  for _, key in ipairs(terms) do
    local size = call('ZCARD', key)
    if size <= least then sources, least = { key }, size end
  end
end

local max, min = '+inf', '-inf'
if ARGV[9] ~= '' then max = '(' .. ARGV[9] end
if ARGV[8] ~= '' then min = '(' .. ARGV[8] end
if pos ~= '' and (ARGV[9] == '' or tonumber(pos) < tonumber(ARGV[9])) then max = pos end
local position = tonumber(pos)
local function after(score, id) return not position or score < position or (score == position and id < pos_id) end

local function older(a, b)
  if a[1] ~= b[1] then return a[1] > b[1] end
  return a[2] > b[2]
end
-- Each source gives a portion; what is older than the youngest end of a portion must wait for the next call.
local portion = math.max(4, math.floor(SCAN / math.max(1, #sources)))
local merged, fence = {}, nil
for _, key in ipairs(sources) do
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
  local id, fits = item[2], true
  if prefix ~= '' then fits = string.sub(id, 1, #prefix) == prefix end
  for _, key in ipairs(terms) do fits = fits and call('ZSCORE', key, id) end
  if fits and (parent ~= '' or #terms > 0 or due_before or updated_after or updated_before) then
    local h = call('HMGET', T .. 'e:' .. id, 'st', 'wf', 'ua', 'due', 'ea')
    local ua, due = tonumber(h[3]), tonumber(h[4])
    fits = (any or statuses[h[1]]) and (wf == '' or h[2] == wf)
      and (not updated_after or ua > updated_after) and (not updated_before or ua < updated_before)
      and (not due_before or (due and not h[5] and due < due_before))
  end
  if fits then found[#found + 1] = header(id) end
end
return { done and 1 or 0, last and num(last[1]) or pos, last and last[2] or pos_id, found }
