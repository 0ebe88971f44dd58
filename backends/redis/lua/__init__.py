"""The Lua scripts of the Redis store: `scripts/`, one for each transition or read, and `lib/`, their parts."""
