"""Round trips: a request as a generator of calls to shards.

The generator yields calls, is sent their replies in order, and returns the request's reply (or raises its refusal).
`together` runs the requests of a batch side by side, so that a batch costs one round trip.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from replay.backends.redis.scripts import Call
from replay.core.errors import ReplayError

R = TypeVar("R")
RoundTrips = Generator[Sequence[Call], list[Any], R]


def together(requests: Iterable[RoundTrips[Any]]) -> RoundTrips[list[Any]]:
    """Run *requests* side by side. The result of a request that raises a `ReplayError` is that error."""
    results: list[Any] = []
    active: list[tuple[int, RoundTrips[Any], Sequence[Call]]] = []
    for i, request in enumerate(requests):
        results.append(None)
        _step(i, request, None, results, active)
    while active:
        if len(active) == 1:
            replies = yield active[0][2]
        else:
            replies = yield [call for _, _, calls in active for call in calls]
        at, going, active = 0, active, []
        for i, request, calls in going:
            _step(i, request, replies[at : at + len(calls)], results, active)
            at += len(calls)
    return results


def _step(
    i: int,
    request: RoundTrips[Any],
    replies: list[Any] | None,
    results: list[Any],
    active: list[tuple[int, RoundTrips[Any], Sequence[Call]]],
) -> None:
    refused = next((reply for reply in replies or () if isinstance(reply, ReplayError)), None)
    try:
        calls = (
            next(request) if replies is None else request.send(replies) if refused is None else request.throw(refused)
        )
    except StopIteration as end:
        results[i] = end.value
    except ReplayError as refusal:
        results[i] = refusal
    else:
        active.append((i, request, calls))
