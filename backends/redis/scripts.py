"""The Lua scripts: put together from their parts, named by their digests, and packed into commands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import attrs

Argument = bytes | str | int

_NEEDS = "-- needs:"


@attrs.frozen
class Script:
    """One script: its whole text, and the digest that a server knows it by."""

    name: str
    text: bytes
    sha: bytes


def load_scripts() -> dict[str, Script]:
    """Return every script `lua/do_NAME.lua` by NAME, the parts that it needs in front."""
    folder = resources.files("replay.backends.redis") / "lua"
    texts = {
        each.name.removesuffix(".lua"): each.read_text("utf-8")
        for each in folder.iterdir()
        if each.name.endswith(".lua")
    }
    found = {}
    for name, text in texts.items():
        if name.startswith("do_"):
            needs, _, _ = text.removeprefix(_NEEDS).partition("\n")
            whole = "\n".join([*(_bare(texts[part]) for part in needs.split()), _bare(text)]).encode()
            sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest().encode()
            found[name.removeprefix("do_")] = Script(name.removeprefix("do_"), whole, sha)
    return found


def _bare(text: str) -> str:
    """Return a part without the comments that stand on their own lines: each node keeps the text of every script."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))


def _pack_plainly(command: Sequence[Argument]) -> bytes:
    parts = [b"*%d\r\n" % len(command)]
    for each in command:
        data = each if isinstance(each, bytes) else str(each).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


def _packer() -> Callable[[Any], bytes]:
    try:
        from hiredis import pack_command
    except ImportError:
        return _pack_plainly
    return pack_command


pack: Callable[[Any], bytes] = _packer()
"""Write one command (a tuple) in Redis's protocol."""


class Call:
    """One command for one shard, ready to be sent, and sent again: whatever we send is idempotent.

    Attributes:
        shard: Which shard's keys it touches.
        writes: Whether it may write.
        script: The script to perform; None for a plain command, given whole as `args`.
        known: Whether the server may know the script by its digest.
    """

    __slots__ = ("args", "known", "script", "shard", "tag", "writes")

    def __init__(self, shard: int, tag: bytes, script: Script | None, args: tuple[Argument, ...], writes: bool) -> None:
        self.shard = shard
        self.tag = tag
        self.script = script
        self.args = args
        self.writes = writes
        self.known = True

    def packed(self) -> bytes:
        """Return the command as it goes over the wire."""
        if self.script is None:
            return pack(self.args)
        if self.known:
            return pack((b"EVALSHA", self.script.sha, b"1", self.tag, *self.args))
        return pack((b"EVAL", self.script.text, b"1", self.tag, *self.args))
