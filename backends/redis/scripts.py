"""The Lua scripts: put together from their parts, named by their digests, and packed into commands.

A script stands in `lua/scripts/NAME.lua`, a part in `lua/lib/NAME.lua`. Comments at the beginning of a line give orders:

* `-- needs: base lanes` (first line of a script): the parts in front of it.
* `-- args: id token values...`: the script's arguments by name, from ARGV[2] on. A last name with dots is the index of
  the first of any number of further arguments.
* `-- constants: MAX_LOST`: constants of `constants.py`.
* `-- unpack i: id workflow`: the arguments at index `i` by name; `i` becomes the index behind them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from operator import itemgetter
from typing import Any

import attrs

from replay.backends.redis.constants import CONSTANTS, CREATE_FIELDS, Constant

Argument = bytes | str | int

_TRAILING = re.compile(r"\s-- .*")
_ORDER = re.compile(r"\s*-- (args|constants|unpack (?P<index>\w+)): (?P<names>.+)")


@attrs.frozen
class Script:
    """One script.

    Attributes:
        name: Its name.
        text: Its whole text.
        sha: The digest by which a server knows it.
        arguments: Names of its arguments from ARGV[2] on.
        open: Any number of further arguments may follow.
    """

    name: str
    text: bytes
    sha: bytes
    arguments: tuple[str, ...] = ()
    open: bool = False
    _in_order: Callable[[Mapping[str, Argument]], tuple[Argument, ...]] = attrs.field(init=False, repr=False)

    @_in_order.default
    def _picker(self) -> Callable[[Mapping[str, Argument]], tuple[Argument, ...]]:
        if not self.arguments:
            return lambda _: ()
        if len(self.arguments) == 1:  # `itemgetter` gives no tuple then
            (name,) = self.arguments
            return lambda named: (named[name],)
        return itemgetter(*self.arguments)

    def arrange(self, named: Mapping[str, Argument], rest: tuple[Argument, ...]) -> tuple[Argument, ...]:
        """Return the arguments in the script's order.

        Raises:
            TypeError: They are not the arguments of the script's `-- args:` lines.
        """
        try:
            ordered = self._in_order(named)
        except KeyError:
            raise self._mismatch(named, rest) from None
        if len(named) > len(self.arguments) or (rest and not self.open):
            raise self._mismatch(named, rest)
        return ordered + rest

    def _mismatch(self, named: Mapping[str, Argument], rest: tuple[Argument, ...]) -> TypeError:
        more = " and more" if rest else ""
        return TypeError(
            f"script {self.name!r} takes {', '.join(self.arguments)}{'...' if self.open else ''}, "
            f"it was given {', '.join(named)}{more}. Fix: make its `-- args:` line and the caller agree"
        )


def load_scripts(constants: Mapping[str, Constant] = CONSTANTS) -> dict[str, Script]:
    """Return every script by name, complete with its parts, *constants* and arguments.

    Raises:
        RuntimeError: `lib/create.lua` reads other fields than `constants.CREATE_FIELDS`.
    """
    parts, scripts = _texts("lib"), _texts("scripts")
    block = [name for order, names in _orders(parts["create"]) if order.startswith("unpack") for name in names]
    if tuple(block) != CREATE_FIELDS:
        raise RuntimeError(f"lib/create.lua reads {block}, Python writes {CREATE_FIELDS}. Fix: make them agree")
    return {name: _assemble(name, text, parts, constants) for name, text in scripts.items()}


def _texts(folder: str) -> dict[str, str]:
    found = resources.files("replay.backends.redis") / "lua" / folder
    return {
        each.name.removesuffix(".lua"): each.read_text("utf-8")
        for each in found.iterdir()
        if each.name.endswith(".lua")
    }


def _assemble(name: str, text: str, parts: Mapping[str, str], constants: Mapping[str, Constant]) -> Script:
    needs, _, _ = text.removeprefix("-- needs:").partition("\n")
    lines = [line for each in (*(parts[part] for part in needs.split()), text) for line in _compiled(each, constants)]
    whole = "\n".join(lines).encode()
    names = [each for order, found in _orders(text) if order == "args" for each in found]
    arguments = tuple(each for each in names if not each.endswith("..."))
    sha = hashlib.sha1(whole, usedforsecurity=False).hexdigest().encode()
    return Script(name, whole, sha, arguments, len(arguments) < len(names))


def _orders(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        if found := _ORDER.fullmatch(line):
            yield found[1], found["names"].split()


_OPERATOR = re.compile(r" (=|==|~=) ")
"""An operator with the blanks that a server does not need. No string of the scripts holds one."""


def _compiled(text: str, constants: Mapping[str, Constant]) -> Iterator[str]:
    """Give the lines that a server needs: no comments or indentation, as each node keeps the text of every script."""
    arguments = [name for order, names in _orders(text) if order == "args" for name in names]
    for line in text.splitlines():
        found = _ORDER.fullmatch(line)
        if found is None:
            if line.strip() and not line.lstrip().startswith("--"):
                yield _OPERATOR.sub(r"\1", _TRAILING.sub("", line).strip())
            continue
        names = found["names"].split()
        if found["index"]:
            at, size = found["index"], len(names)
            yield f"local {','.join(names)}=unpack(ARGV,{at},{at}+{size - 1}) {at}={at}+{size}"
        elif found[1] == "constants":
            yield f"local {','.join(names)}={','.join(_literal(constants[name]) for name in names)}"
        else:
            yield from _arguments(arguments)
            arguments = []


def _arguments(names: list[str]) -> Iterator[str]:
    named = [name for name in names if not name.endswith("...")]
    if named:
        yield f"local {','.join(named)}=unpack(ARGV,2,{len(named) + 1})"
    if len(named) < len(names):
        yield f"local {names[-1].removesuffix('...')}={len(named) + 2}"


def _literal(value: Constant) -> str:
    return (
        "{" + ",".join(f"{each}=true" for each in sorted(value)) + "}" if isinstance(value, frozenset) else repr(value)
    )


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
"""Encode one command (a tuple) in Redis's protocol."""


class Call:
    """One command for one shard. It is idempotent, so that it may be sent again.

    Attributes:
        shard: The shard of its keys.
        writes: It may write.
        script: The script to run; None for a plain command, given whole as `args`.
        known: The server may know the script by its digest.
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
        """Return the command in Redis's protocol."""
        if self.script is None:
            return pack(self.args)
        if self.known:
            return pack((b"EVALSHA", self.script.sha, b"1", self.tag, *self.args))
        return pack((b"EVAL", self.script.text, b"1", self.tag, *self.args))
