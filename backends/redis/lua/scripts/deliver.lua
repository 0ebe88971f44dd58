-- needs: base hmget lanes inbox_add outbox finish deliver
-- args: id message_id kind name payload
local code, status = deliver(id, message_id, kind, name, payload)
return { NOW, code, status, woken, outbox }
