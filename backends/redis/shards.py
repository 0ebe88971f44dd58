"""The shards of a namespace: the shard of an id, and commands for a shard."""

from __future__ import annotations

from collections import OrderedDict
from zlib import crc32

from replay.backends.redis.scripts import Argument, Call, Script
from replay.core.ids import routing

RECENT = 256
"""Remembered claims: many more than a process can have under way."""

_READS = frozenset({"get", "inbox", "find", "count", "oldest", "get_schedule", "list_schedules", "workers", "ping"})


class Shards:
    """The shards of a namespace.

    Args:
        namespace: The application's namespace.
        count: Number of shards.
        scripts: The scripts by name.
    """

    def __init__(self, namespace: str, count: int, scripts: dict[str, Script]) -> None:
        self.count = count
        self.tags = [b"{%b:%d}:" % (namespace.encode(), shard) for shard in range(count)]
        self.scripts = scripts
        self.turn = 0
        self._nonces: OrderedDict[str, None] = OrderedDict()

    def of(self, id: str) -> int:
        """Return the shard of an execution or schedule. Ids with the same routing part share a shard."""
        return 0 if self.count == 1 else crc32(routing(id).encode()) % self.count

    def script(self, shard: int, name: str, now: Argument, /, *rest: Argument, **named: Argument) -> Call:
        """Return a call of the script *name*. *named* are its arguments, *rest* the values after them.

        Raises:
            TypeError: The script takes other arguments.
        """
        script = self.scripts[name]
        return Call(shard, self.tags[shard], script, (now, *script.arrange(named, rest)), name not in _READS)

    def command(self, shard: int, name: bytes, key: str | bytes, *args: Argument) -> Call:
        """Return a call of a plain command that only reads, on one key of the shard."""
        tag = self.tags[shard]
        full = tag + (key if isinstance(key, bytes) else key.encode())
        return Call(shard, tag, None, (name, full, *args), False)

    def is_repeated(self, nonce: str) -> bool:
        """Remember a claim; True if it was remembered before. The server has no record of a claim that took nothing."""
        if nonce in self._nonces:
            return True
        self._nonces[nonce] = None
        if len(self._nonces) > RECENT:
            self._nonces.popitem(last=False)
        return False

    def rotation(self) -> list[int]:
        """Return all shards, with another first shard each time."""
        self.turn = (self.turn + 1) % self.count
        return [*range(self.turn, self.count), *range(self.turn)]


def portions(total: int, parts: int) -> list[int]:
    """Split *total* as evenly as possible, larger portions first."""
    base, rest = divmod(total, parts)
    return [base + (i < rest) for i in range(parts)]
