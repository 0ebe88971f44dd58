"""Messages of the bus as payloads of NOTIFY: text of fewer than 8,000 bytes. Longer messages go in parts."""

from __future__ import annotations

import base64
from typing import NamedTuple

PART = 7_800
"""Characters of a part, next to which its number stands."""

MOST_PARTS = 5_000
"""Parts of messages that are not whole yet. Parts of one message come together, unless the connection was lost."""


class Message(NamedTuple):
    """A message and its channel."""

    channel: str
    body: bytes


def payloads(message: Message, number: str) -> list[str]:
    """Return the payloads of *message*; *number* is its own among all senders, since the server merges equal payloads."""
    text = base64.b64encode(message.channel.encode("utf-8", "surrogatepass") + b"\0" + message.body).decode()
    pieces = [text[begin : begin + PART] for begin in range(0, len(text), PART)]
    return [f"{number}.{index}.{len(pieces)}.{piece}" for index, piece in enumerate(pieces)]


class Parts:
    """Puts messages together again."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._kept = 0

    def take(self, payload: str) -> Message | None:
        """Take a payload; return the message that it completes. A payload of somebody else is ignored."""
        try:
            number, index, count, piece = payload.split(".", 3)
            if (int(index), int(count)) == (0, 1):
                return _message(piece)
            return self._collect(number, int(index), int(count), piece)
        except (ValueError, UnicodeError):
            return None

    def _collect(self, number: str, index: int, count: int, piece: str) -> Message | None:
        if self._kept >= MOST_PARTS:
            self._found, self._kept = {}, 0
        pieces = self._found.setdefault(number, [])
        if index != len(pieces):  # the beginning was lost
            self._found.pop(number)
            return None
        pieces.append(piece)
        self._kept += 1
        if len(pieces) < count:
            return None
        self._kept -= count
        return _message("".join(self._found.pop(number)))


def _message(text: str) -> Message:
    channel, mark, body = base64.b64decode(text, validate=True).partition(b"\0")
    if not mark:
        raise ValueError("it has no channel")
    return Message(channel.decode("utf-8", "surrogatepass"), body)
