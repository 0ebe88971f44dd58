"""The pure heart of the engine: no clock, thread, randomness, I/O or logging (checked by import-linter)."""
