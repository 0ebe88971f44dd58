"""What a worker holds: the executions under way, the sessions of parked ones, its mail, and what a turn leaves to do."""

from __future__ import annotations

import collections

import attrs

from replay.core import requests as r
from replay.core.effects import Call, Returned, WakeUp
from replay.core.session import Session


@attrs.frozen
class TurnResult:
    """What a turn leaves to do.

    Attributes:
        calls: To run.
        abandoned: Calls whose outcomes are refused from now on, wherever they are; their threads may never come back.
        wake_at: When to come back at the latest (the worker's clock); `again`: at once.
    """

    calls: list[Call]
    abandoned: list[Call]
    wake_at: float
    again: bool = False


@attrs.frozen
class NewMessages:
    """Mail: execution `id` may have unseen messages."""

    id: str


@attrs.frozen
class LeaseLost:
    """Mail: the lease under `token` is lost."""

    id: str
    token: str


class Activation:
    """A session under way: what it waits for, and what has come for it meanwhile."""

    __slots__ = ("events", "gen", "news", "report", "session", "until", "waiting")

    def __init__(self, session: Session, claimed: r.Claimed, now: float) -> None:
        self.session = session
        self.gen = session.run(claimed, now)
        self.waiting = False
        self.until: float | None = None
        self.events: list[Returned] = []
        self.news = False
        self.report = False

    def woken(self, now: float, *, draining: bool) -> WakeUp:
        """Return what has come, which is nothing from then on."""
        woken = WakeUp(now, tuple(self.events), self.news, draining, self.report)
        self.events, self.news, self.report = [], False, False
        return woken

    def close(self) -> None:
        """Close its generators, without a word to the store."""
        self.gen.close()
        self.session.close()


class Parked:
    """Sessions of executions that sleep: whose generators live on, so that waking replays nothing. The oldest go first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._sessions: collections.OrderedDict[str, Session] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, id: str) -> Session | None:
        """Return an execution's session, which stays."""
        return self._sessions.get(id)

    def keep(self, session: Session) -> None:
        """Keep a session."""
        self._sessions[session.id] = session
        if len(self._sessions) > self._size:
            _, oldest = self._sessions.popitem(last=False)
            oldest.close()

    def take(self, claimed: r.Claimed) -> Session | None:
        """Return the session that can go on from where the claimed execution stands, if it is here; one that cannot is closed."""
        session = self._sessions.pop(claimed.header.id, None)
        if session is not None and not session.fits(claimed):
            session.close()
            return None
        return session

    def forget(self, id: str) -> None:
        """Let go of a session that somebody else has closed."""
        self._sessions.pop(id, None)

    def close(self) -> None:
        """Close all."""
        while self._sessions:
            self._sessions.popitem()[1].close()
