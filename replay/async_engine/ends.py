"""Waits for the ends of executions. They hold no thread: messages of the bus wake them, one sweep asks for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from replay.async_engine.requests import Requests
from replay.client.client import Client
from replay.core import requests as r
from replay.core.errors import StoreUnavailable, UnknownExecution

SHARE = 10
"""A sweep that takes a tenth of a second is followed by a second without one: it costs a tenth of a thread at most."""


class _Waits:
    """The futures that wait for one execution, and its subscription to the bus."""

    __slots__ = ("futures", "unsubscribe")

    def __init__(self) -> None:
        self.futures: set[asyncio.Future[r.Header]] = set()
        self.unsubscribe: Callable[[], None] | None = None


class Ends:
    """The waits of one event loop.

    Args:
        client: Its bus is listened to.
        requests: Sends the reads.
    """

    def __init__(self, client: Client, requests: Requests) -> None:
        self._client = client
        self._requests = requests
        self._loop = asyncio.get_running_loop()
        self._waits: dict[str, _Waits] = {}
        self._woken: set[str] = set()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, id: str, timeout: float | None) -> r.Header | None:
        """Return the header of an execution that has ended; None if it did not within *timeout* seconds.

        Raises:
            UnknownExecution: There is no such execution.
            StoreUnavailable: The store cannot be reached when the wait begins, or the engine was closed during it.
        """
        header = _known(id, await self._requests.ask(r.Get(id)))
        if header.ended_at is not None:
            return header
        waits = self._waits.setdefault(id, _Waits())
        future: asyncio.Future[r.Header] = self._loop.create_future()
        waits.futures.add(future)
        self._wake(id)  # once more after the subscription, as it may end meanwhile
        if self._task is None:
            self._task = self._loop.create_task(self._watch())
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return None
        finally:
            waits.futures.discard(future)

    def close(self) -> None:
        """End all waits with `StoreUnavailable`."""
        if self._task is not None:
            self._task.cancel()
        for waits in self._waits.values():
            for future in waits.futures:
                if not future.done():
                    future.set_exception(StoreUnavailable("this engine was closed. The execution runs on"))

    @property
    def count(self) -> int:
        """Number of executions that somebody waits for."""
        return sum(bool(waits.futures) for waits in self._waits.values())

    def _wake(self, id: str) -> None:
        self._woken.add(id)
        self._news.set()

    def _wake_from_outside(self, id: str) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._wake, id)

    async def _watch(self) -> None:
        """Look at woken executions at once, and at all of them now and then, as long as anybody waits."""
        next_sweep = self._loop.time() + self._client.longest_poll
        while True:
            await self._forget_unwanted()
            if not self._waits:
                self._task = None
                return
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_sweep):
                    await self._news.wait()
            self._news.clear()
            woken, self._woken = self._woken, set()
            began = self._loop.time()
            sweeps = began >= next_sweep
            await self._look_safely(list(self._waits) if sweeps else [id for id in woken if id in self._waits])
            if sweeps:
                now = self._loop.time()
                next_sweep = now + max(self._client.longest_poll, SHARE * (now - began))

    async def _look_safely(self, ids: list[str]) -> None:
        """Look at executions. A store that is away is asked again later; any other failure ends the waits."""
        try:
            self._client.check_alive()
            with suppress(StoreUnavailable):
                await self._look(ids)
        except Exception as error:
            for id in self._waits:
                self._settle(id, error)

    async def _look(self, ids: list[str]) -> None:
        fresh = [id for id in ids if self._waits[id].unsubscribe is None]
        if fresh:
            subscribed = await self._requests.run(lambda: {id: self._subscribe(id) for id in fresh})
            for id, unsubscribe in subscribed.items():
                self._waits[id].unsubscribe = unsubscribe
        replies = await asyncio.gather(*(self._requests.ask(r.Get(id)) for id in ids), return_exceptions=True)
        for id, reply in zip(ids, replies, strict=True):
            if isinstance(reply, r.Header) and reply.ended_at is not None:
                self._settle(id, reply)
            elif reply is None:
                self._settle(id, _gone(id))
        unavailable = next((reply for reply in replies if isinstance(reply, StoreUnavailable)), None)
        if unavailable is not None:
            raise unavailable

    def _subscribe(self, id: str) -> Callable[[], None]:
        return self._client.on_end(id, lambda: self._wake_from_outside(id))

    def _settle(self, id: str, answer: r.Header | Exception) -> None:
        for future in self._waits[id].futures:
            if not future.done():
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._waits[id].futures.clear()

    async def _forget_unwanted(self) -> None:
        """Forget executions that nobody waits for any more."""
        unwanted = [id for id, waits in self._waits.items() if not waits.futures]
        calls = [waits.unsubscribe for id in unwanted if (waits := self._waits.pop(id)).unsubscribe is not None]
        if calls:
            await self._requests.run(lambda: _call_all(calls))


def _call_all(calls: Iterable[Callable[[], Any]]) -> None:
    for call in calls:
        call()


def _gone(id: str) -> UnknownExecution:
    return UnknownExecution(f"no execution {id!r}: it was removed during the wait")


def _known(id: str, header: r.Header | None) -> r.Header:
    if header is None:
        raise UnknownExecution(f"no execution {id!r}. Fix: check the id, the store and the namespace")
    return header
