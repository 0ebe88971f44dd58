"""An `AsyncEngine` behind the methods of an `Engine`, so that one test runs through both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

from replay import AsyncEngine, AsyncHandle, Engine
from tests.servers.process import PATIENCE


class Blocking:
    """Runs coroutines on a loop of its own, in a thread, and waits for them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class BlockingHandle:
    """The methods of a `Handle`, by those of an `AsyncHandle`."""

    def __init__(self, wait: Blocking, handle: AsyncHandle[Any]) -> None:
        self._wait, self._handle, self.id = wait, handle, handle.id

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self._wait(getattr(self._handle, name)(*args, **kwargs))


class BlockingClient:
    """The client's methods of an `Engine`, by those of an `AsyncEngine`."""

    def __init__(self, engine: Engine) -> None:
        self._wait = Blocking()
        self._engine = AsyncEngine(engine)

    def close(self) -> None:
        self._wait(self._engine.aclose())
        self._wait.close()

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            args = tuple(arg._handle if isinstance(arg, BlockingHandle) else arg for arg in args)
            found = self._wait(getattr(self._engine, name)(*args, **kwargs))
            return BlockingHandle(self._wait, found) if isinstance(found, AsyncHandle) else found

        return call
