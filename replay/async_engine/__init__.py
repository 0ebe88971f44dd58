"""`AsyncEngine`: the client of an application on an event loop."""

from replay.async_engine.engine import AsyncEngine
from replay.async_engine.handles import AsyncHandle

__all__ = ["AsyncEngine", "AsyncHandle"]
