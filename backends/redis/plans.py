"""Plans: how each request becomes commands for shards, and their replies its reply.

A plan is a generator: it yields calls, is sent their replies in order, and returns the request's reply (or raises its
refusal). Plans of one batch run together, so that a batch costs one round trip however many requests it holds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterable, Sequence
from typing import Any, TypeVar

from replay.backends.redis.scripts import Argument, Call, Script
from replay.core.errors import ReplayError
from replay.core.ids import routing

RECENT = 256
"""Claims remembered: many more than a process can have under way."""

R = TypeVar("R")
Plan = Generator[Sequence[Call], list[Any], R]

_READS = frozenset({"get", "inbox", "find", "count", "oldest", "get_schedule", "list_schedules", "workers", "ping"})


def together(plans: Iterable[Plan[Any]]) -> Plan[list[Any]]:
    """Run *plans* at the same time; a plan that raises a `ReplayError` has it as its result."""
    results: list[Any] = []
    active: list[tuple[int, Plan[Any], Sequence[Call]]] = []
    for i, plan in enumerate(plans):
        results.append(None)
        _step(i, plan, None, results, active)
    while active:
        if len(active) == 1:
            replies = yield active[0][2]
        else:
            replies = yield [call for _, _, calls in active for call in calls]
        at, going, active = 0, active, []
        for i, plan, calls in going:
            _step(i, plan, replies[at : at + len(calls)], results, active)
            at += len(calls)
    return results


def _step(
    i: int,
    plan: Plan[Any],
    replies: list[Any] | None,
    results: list[Any],
    active: list[tuple[int, Plan[Any], Sequence[Call]]],
) -> None:
    refused = next((reply for reply in replies or () if isinstance(reply, ReplayError)), None)
    try:
        calls = next(plan) if replies is None else plan.send(replies) if refused is None else plan.throw(refused)
    except StopIteration as end:
        results[i] = end.value
    except ReplayError as refusal:
        results[i] = refusal
    else:
        active.append((i, plan, calls))


class Shards:
    """The shards of a namespace: where an id lives, and commands for it.

    Args:
        namespace: Of which application.
        count: How many shards there are.
        scripts: By name.
    """

    def __init__(self, namespace: str, count: int, scripts: dict[str, Script]) -> None:
        self.count = count
        self.tags = [b"{%b:%d}:" % (namespace.encode(), shard) for shard in range(count)]
        self.scripts = scripts
        self.turn = 0
        self._nonces: OrderedDict[str, None] = OrderedDict()

    def of(self, id: str) -> int:
        """Return the shard of an execution or schedule: everything with the same routing part is on one."""
        if self.count == 1:
            return 0
        from zlib import crc32

        return crc32(routing(id).encode()) % self.count

    def script(self, shard: int, name: str, now: Argument, *args: Argument) -> Call:
        """Return a call of the script *name*."""
        return Call(shard, self.tags[shard], self.scripts[name], (now, *args), name not in _READS)

    def command(self, shard: int, name: bytes, key: str | bytes, *args: Argument) -> Call:
        """Return a call of a plain command that only reads, on one key of the shard."""
        tag = self.tags[shard]
        full = tag + (key if isinstance(key, bytes) else key.encode())
        return Call(shard, tag, None, (name, full, *args), False)

    def is_repeated(self, nonce: str) -> bool:
        """Tell whether a claim was made lately; shards that gave it nothing then know nothing of it."""
        if nonce in self._nonces:
            return True
        self._nonces[nonce] = None
        if len(self._nonces) > RECENT:
            self._nonces.popitem(last=False)
        return False

    def rotation(self) -> list[int]:
        """Return all shards, beginning with another one each time."""
        self.turn = (self.turn + 1) % self.count
        return [*range(self.turn, self.count), *range(self.turn)]


def portions(total: int, parts: int) -> list[int]:
    """Return how *total* is split as evenly as can be, the larger portions first."""
    base, rest = divmod(total, parts)
    return [base + (i < rest) for i in range(parts)]
