"""The scripts that the Redis store performs: parts, and `do_NAME.lua` that say which parts they need."""
