"""Requests of coroutines, sent in batches: those of one turn of the loop are one call of the store, so one group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from replay.client.client import Client
from replay.core import requests as r
from replay.core.errors import StoreUnavailable

T = TypeVar("T")

MOST = 200
"""Requests of one batch: enough to share a commit's cost, few enough that others wait for milliseconds."""

THREADS = 2
"""Batches that are under way at once: while one waits for the disk, the next is sent."""


class Requests:
    """Sends the requests of one event loop, on threads of its own. Requests that come while both are busy wait together.

    Args:
        client: Its store is asked.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="replay-async")
        self._waiting: list[tuple[r.Request[Any], asyncio.Future[Any]]] = []
        self._under_way = 0
        self._is_due = False
        self._closed = False

    async def ask(self, request: r.Request[T]) -> T:
        """Send one request with all others of this turn of the loop; return its reply, or raise its refusal.

        A caller that is cancelled meanwhile does not take its request back.

        Raises:
            StoreUnavailable: The store cannot be reached, or this was closed.
        """
        if self._closed:
            raise StoreUnavailable("this engine is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((request, future))
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)
        reply: T = await future
        return reply

    async def run(self, call: Callable[[], T]) -> T:
        """Run *call*, which may block, on one of the threads that send."""
        if self._closed:
            raise StoreUnavailable("this engine is closed")
        return await self._loop.run_in_executor(self._threads, call)

    def close(self) -> None:
        """Fail what waits. Batches that are under way end by themselves."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for _, future in waiting:
            _settle(future, StoreUnavailable("this engine was closed before the request was sent"))
        self._threads.shutdown(wait=False)

    def _send(self) -> None:
        self._is_due = False
        while self._waiting and self._under_way < THREADS and not self._closed:
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            self._under_way += 1
            sent = self._loop.run_in_executor(self._threads, self._apply, [request for request, _ in batch])
            sent.add_done_callback(partial(self._answer, batch))

    def _apply(self, requests: list[r.Request[Any]]) -> list[Any]:
        replies = self._client.store.apply(requests)
        for request, reply in zip(requests, replies, strict=True):
            if not isinstance(reply, Exception):
                self._client.announce_reply(request, reply)  # here, as a bus may take a moment
        return replies

    def _answer(self, batch: list[tuple[r.Request[Any], asyncio.Future[Any]]], sent: asyncio.Future[list[Any]]) -> None:
        self._under_way -= 1
        if sent.cancelled():
            replies: list[Any] = [StoreUnavailable("this engine was closed meanwhile")] * len(batch)
        else:
            error = sent.exception()
            replies = [error] * len(batch) if error is not None else sent.result()
        for (_, future), reply in zip(batch, replies, strict=True):
            _settle(future, reply)
        self._send()


def _settle(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():  # its caller was cancelled
        return
    if isinstance(reply, BaseException):
        future.set_exception(reply)
    else:
        future.set_result(reply)
