"""Real servers for tests, private to the process that starts them: own ports, own directories, dead when it dies.

Usable without pytest (benchmarks do): `with RedisServer() as server: ...`.
"""
