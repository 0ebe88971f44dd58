"""Settings of a session, given by its worker: the workflow's definition, the codec, limits."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

import attrs

from replay.core.context import Context
from replay.core.retry import Retry

PAYLOAD_LIMIT = 1_048_576
"""Bytes that an encoded value may take by default."""


class Definition(Protocol):
    """The part of a workflow's definition that a session needs."""

    @property
    def key(self) -> str:
        """The stable key."""
        ...

    @property
    def retry(self) -> Retry | None:
        """The workflow-level retry policy."""
        ...

    @property
    def rollback_on_failure(self) -> bool:
        """Whether an uncaught failure rolls back."""
        ...

    @property
    def signal_ids(self) -> frozenset[str] | None:
        """The ids of the signals that it may receive, None: any."""
        ...

    def generator(self, ctx: Context, input: Any) -> Generator[Any, Any, Any]:
        """Make the workflow's generator."""
        ...


class Coding(Protocol):
    """The part of a codec that a session needs."""

    def encode(self, value: Any) -> bytes:
        """Encode one value."""
        ...

    def decode(self, data: bytes) -> Any:
        """Decode one value."""
        ...

    def decode_rows(self, rows: Any) -> list[Any]:
        """Decode log entries."""
        ...

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Fingerprint arguments."""
        ...


@attrs.frozen
class SessionSettings:
    """Options of a session; durations are seconds, sizes bytes, `log_limit` counts entries."""

    codec: Coding
    context: Callable[..., Context]
    random: Callable[[], float]
    worker: str = ""
    lease: float = 30.0
    payload_limit: int = PAYLOAD_LIMIT
    log_limit: int = 100_000
    argument_policy: str = "warn"
    cancel_grace: float = 5.0

    def digest(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
        """Fingerprint a step's arguments, None if they are not compared."""
        return None if self.argument_policy == "off" else self.codec.digest(args, kwargs)
