"""Golden histories: recorded logs as files, replayed in CI against the current code."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import attrs
import msgspec

from replay.client.port import ClientPort
from replay.core import requests as r
from replay.core.errors import Undecodable, UnknownExecution
from replay.core.requests import Header

FORMAT = "replay-history-1"


@attrs.frozen
class Recorded:
    """An execution as recorded: its header and its log's rows."""

    header: Header
    rows: tuple[bytes, ...]


@attrs.frozen
class History:
    """A recorded execution, to be written to a file and read again. `damage` is the reason why its log could not be read."""

    recorded: Recorded
    damage: str | None = None

    @classmethod
    def of(cls, engine: ClientPort, id: str, *, damaged: bool = False) -> History:
        """Read an execution from a store. With *damaged*, an execution with a damaged log is read without it.

        Raises:
            UnknownExecution: There is no such execution.
            Undecodable: Its log is damaged, and *damaged* is False.
        """
        header = engine.ask(r.Get(id))
        if header is None:
            raise UnknownExecution(f"no execution {id!r} in namespace {engine.namespace!r}")
        try:
            return cls(Recorded(header, tuple(engine.ask(r.Load(id)))))
        except Undecodable as error:
            if not damaged:
                raise
            return cls(Recorded(header, ()), str(error))

    def text(self, indent: int | None = 1) -> str:
        """Return the history as JSON. Payloads stay as the codec wrote them."""
        header = msgspec.structs.asdict(self.recorded.header)
        return json.dumps(
            {
                "format": FORMAT,
                "header": {k: _text(v) for k, v in header.items()},
                "log": [_text(row) for row in self.recorded.rows],
                **({} if self.damage is None else {"damage": self.damage}),
            },
            indent=indent,
        )

    @classmethod
    def parse(cls, text: str, where: str) -> History:
        """Read the output of `text`.

        Raises:
            ValueError: *text* is no such output; the message names *where*.
        """
        try:
            found = json.loads(text)
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}")
            if found.get("damage"):
                raise ValueError(f"its log was damaged: {found['damage']}")
            header = Header(**{k: _bytes(v) for k, v in found["header"].items() if k in Header.__struct_fields__})
            return cls(Recorded(header, tuple(_bytes(row) for row in found["log"])))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{where} is not a history that `replay history --export` wrote ({error})") from error

    @classmethod
    def read(cls, path: Path) -> History:
        """Read a file. Raises like `parse`."""
        return cls.parse(path.read_text(encoding="utf-8"), str(path))


def _text(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return (
            {"json": json.loads(value)}
            if json.dumps(json.loads(value)) is not None and _exact(value)
            else _base64(value)
        )
    except ValueError:
        return _base64(value)


def _exact(value: bytes) -> bool:
    return bool(json.loads(json.dumps(json.loads(value))) == json.loads(value))


def _base64(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode()}


def _bytes(value: Any) -> Any:
    if isinstance(value, dict) and value.keys() == {"json"}:
        return json.dumps(value["json"], separators=(",", ":")).encode()
    if isinstance(value, dict) and value.keys() == {"base64"}:
        return base64.b64decode(value["base64"])
    return value
