"""Retry policies: pure rules for the next attempt. Waiting is done by durable timers."""

from __future__ import annotations

from typing import Any

import attrs

from replay.core.times import LONGEST, Seconds, duration


def _positive(what: str) -> Any:
    def check(_: object, __: object, value: float) -> None:
        if not value > 0:
            raise ValueError(f"Retry({what}=...) must be greater than 0, not {value!r}")

    return check


def _seconds(value: Seconds) -> float:
    return duration(value, "Retry(initial=, cap=, deadline=)")


def _classes(value: object) -> tuple[type[BaseException], ...]:
    found = value if isinstance(value, tuple) else tuple(value) if isinstance(value, list | set) else (value,)
    for each in found:
        if not (isinstance(each, type) and issubclass(each, BaseException)):
            raise TypeError(f"Retry(on=..., never=...) take exception classes, not {each!r}")
    return found


def _attempts(_: object, __: object, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"Retry(attempts=...) counts all tries and must be a whole number from 1, not {value!r}")


@attrs.frozen
class Retry:
    """Number and times of the attempts after a failure. Waiting is a timer in the store, so it survives crashes.

    Args:
        attempts: All tries, the first included.
        initial: Seconds (or `timedelta`, like all durations here) before the second attempt.
        factor: Each further wait is this many times the previous one.
        cap: Longest wait, seconds; default: 60, or `initial` if that is more.
        jitter: Each wait is lengthened by a random share of up to this fraction of itself.
        on: Exception classes that are worth another attempt.
        never: Exception classes that are not, even if `on` holds them.
        deadline: Seconds since the first attempt began after which no further attempt is planned; None: no bound.

    An exception with a numeric `retry_after` attribute (seconds, up to 1,000 years) asks for that wait instead of the
    computed one.
    """

    attempts: int = attrs.field(default=3, validator=_attempts)
    initial: float = attrs.field(default=1.0, converter=_seconds)
    factor: float = attrs.field(default=2.0, validator=_positive("factor"))
    cap: float = attrs.field(
        default=attrs.Factory(lambda self: max(60.0, self.initial), takes_self=True), converter=_seconds
    )
    jitter: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    on: tuple[type[BaseException], ...] = attrs.field(default=(Exception,), converter=_classes)
    never: tuple[type[BaseException], ...] = attrs.field(default=(), converter=_classes)
    deadline: float | None = attrs.field(
        default=None,
        converter=attrs.converters.optional(_seconds),
        validator=attrs.validators.optional(_positive("deadline")),
    )

    def __attrs_post_init__(self) -> None:
        if self.cap < self.initial:
            raise ValueError(
                f"Retry(initial={self.initial:g}, cap={self.cap:g}) would never wait for `initial`. Fix: a cap of {self.initial:g} or more"
            )

    @classmethod
    def of(cls, policy: Retry | int) -> Retry:
        """Return *policy*, an integer standing for `Retry(attempts=policy)`."""
        return policy if isinstance(policy, Retry) else cls(attempts=policy)

    def delay(self, attempt: int, error: BaseException, *, elapsed: float, random: float) -> float | None:
        """Return the seconds to wait after failed attempt number *attempt* (from 1), None to give up.

        Args:
            error: The attempt's error.
            elapsed: Seconds since the first attempt began.
            random: A random number in [0, 1), drawn by the caller.
        """
        if attempt >= self.attempts or issubclass(type(error), self.never) or not issubclass(type(error), self.on):
            return None
        suggested = _retry_after(error)
        if isinstance(suggested, int | float) and not isinstance(suggested, bool) and 0 <= suggested <= LONGEST:
            wait = float(suggested)
        else:
            wait = self._backoff(attempt) * (1.0 + self.jitter * random)
        if self.deadline is not None and elapsed + wait > self.deadline:
            return None
        return wait

    def _backoff(self, attempt: int) -> float:
        try:
            return min(self.cap, self.initial * self.factor ** (attempt - 1))
        except OverflowError:
            return self.cap


def _retry_after(error: BaseException) -> Any:
    try:
        return getattr(error, "retry_after", None)
    except BaseException:  # a user's property may raise anything
        return None


ONCE = Retry(attempts=1)
"""The policy of a step without `.retry(...)`."""
