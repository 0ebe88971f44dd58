"""The cache of parked sessions: their generators stay alive, so that a wake-up replays nothing."""

from __future__ import annotations

import collections

from replay.core import requests as r
from replay.core.session import Session


class ParkedSessions:
    """Sessions of sleeping executions, by execution id. The oldest is evicted first.

    Args:
        size: Most sessions kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._sessions: collections.OrderedDict[str, Session] = collections.OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, id: str) -> Session | None:
        """Return an execution's session, if it is cached. It stays in the cache."""
        return self._sessions.get(id)

    def add(self, session: Session) -> None:
        """Add a session; evict the oldest if there are too many."""
        self._sessions[session.id] = session
        if len(self._sessions) > self._size:
            _, oldest = self._sessions.popitem(last=False)
            oldest.close()

    def take(self, claimed: r.Claimed) -> Session | None:
        """Remove and return the session of a claimed execution.

        A session whose log differs from the stored one is closed; the answer is None, as without a session.
        """
        session = self._sessions.pop(claimed.header.id, None)
        if session is not None and not session.fits(claimed):
            session.close()
            return None
        return session

    def discard(self, id: str) -> None:
        """Remove an execution's session without closing it."""
        self._sessions.pop(id, None)

    def close(self) -> None:
        """Close all sessions."""
        while self._sessions:
            self._sessions.popitem()[1].close()
