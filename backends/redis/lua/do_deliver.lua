-- needs: base due arrive outbox finish deliver
-- 2 id  3 message id  4 kind  5 name  6 payload
local code, status = deliver(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6])
return { NOW, code, status, woken, owed }
