"""The Redis store and bus: `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`."""

from replay.backends.redis.bus import RedisBus, open_bus
from replay.backends.redis.store import RedisStore, open_store, prepare_store

__all__ = ["RedisBus", "RedisStore", "open_bus", "open_store", "prepare_store"]
