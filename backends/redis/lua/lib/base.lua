-- The beginning of every script: the shard, the present instant, and the notation of numbers.
--
-- KEYS[1] is the shard's hash tag. All keys of the shard begin with it. No key has that very name, so a cluster that moves
-- the slot refuses the whole script before its first write. ARGV[1] is the present instant; '' means the server's clock.
--
-- Keys of a shard (the names are stored data, so they never change):
--
--   e:ID   hash         an execution's small fields, below
--   p:ID   hash         its payloads, below
--   l:ID   list         its log; each entry begins with 4 bytes of CRC-32
--   m:ID   hash         its inbox: seq -> kind SEP instant SEP size of name SEP name payload
--   n:ID   hash         the `ended` messages in its inbox: id of the ended execution -> seq
--   a:ID   sorted set   ids of accepted messages, by the number of arrivals at that time
--   w:ID   set          its watchers: 'l' (this shard) or 'f' (another shard), then the watcher's id
--   s:ID   hash         a schedule: wf workflow, spec, state, next due time, paused ('1' or '0'), ver version
--   c:NONCE list        the record of a claim: round SEP, then the ids taken in that round
--   i      sorted set   all executions, score 0, so ordered by id
--   u      sorted set   all executions by last change, exact to a tick
--   t      sorted set   executions with a priority that wait for an instant
--   z      sorted set   ended executions by the instant of their purge
--   x      set          names of the indexes x:STATUS SEP WORKFLOW (sorted sets of executions by creation)
--   y:ID   sorted set   children of an execution by creation
--   k:TERM sorted set   executions with a term of metadata by creation
--   lanes  set          names of the lanes d:QUEUE SEP WORKFLOW SEP VERSION (sorted sets of executions by due time)
--   sn     sorted set   all schedules, score 0, so ordered by id
--   sz     sorted set   unpaused schedules by due time
--   sw:WF  sorted set   the same, of one workflow (since 0.2)
--   o, oz  hash, zset   outbox: item -> value, and the instant from which other processes may deliver the item
--   wh, wz hash, zset   workers: name -> registration SEP info, and the instant at which it expires
--
-- Fields of e:ID (absent means None, 0, '' or, for `at`, 1):
--
--   st status            wf workflow          q queue              v version           pri priority
--   ca created at        ua updated at        ea ended at          dl deadline         due due time
--   par parent id        pf parent is on another shard             ret retention       run number of restarts
--   len length of log    am amendments        at attempt           arr arrivals        cn seq of the accepted cancel
--   tok lease token      wk worker            lost lost leases     lc last commit id (or nonce of an amendment)
--
-- Fields of p:ID: in input, md metadata, mt terms of metadata, res result, err error, cur progress (`current`).
local T, SEP, call = KEYS[1], '\31', redis.call
local NOW = ARGV[1]
if NOW == '' then
  local t = call('TIME')
  NOW = t[1] .. '.' .. string.sub('00000' .. t[2], -6)
end
local now = tonumber(NOW)
local function num(x) return string.format('%.17g', x) end
