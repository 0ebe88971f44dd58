"""Parts of the Lua scripts."""
