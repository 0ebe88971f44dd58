"""Results of waits and settled steps, as values to `match` on."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import attrs

from replay.core.errors import StepFailed

T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Ok(Generic[T_co]):
    """A settled step that returned `value`."""

    value: T_co


@attrs.frozen
class Err:
    """A settled step that failed for good with `error` (a `StepFailed`)."""

    error: StepFailed = attrs.field(eq=repr)


@attrs.frozen
class Received(Generic[T_co]):
    """The signal came before the timeout."""

    payload: T_co

    @property
    def kind(self) -> Literal["signal"]:
        """Always `"signal"`."""
        return "signal"


@attrs.frozen
class Completed(Generic[T_co]):
    """The awaited execution completed before the timeout."""

    value: T_co

    @property
    def kind(self) -> Literal["completed"]:
        """Always `"completed"`."""
        return "completed"


@attrs.frozen
class TimedOut:
    """The timeout came first."""

    @property
    def kind(self) -> Literal["timeout"]:
        """Always `"timeout"`."""
        return "timeout"


@attrs.frozen
class Winner(Generic[T_co]):
    """The member of a race that settled first."""

    name: str
    value: T_co
