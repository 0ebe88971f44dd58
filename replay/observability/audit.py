"""Audit log lines for actions that leave no log behind (delete, purge), by the logger `replay.audit`."""

from __future__ import annotations

import getpass

from replay.logs import get_logger

log = get_logger("replay.audit")


def audit(action: str, what: str, id: str, *, by: str | None = None, why: str = "") -> None:
    """Log that somebody did *action* to the *what* (`execution`, `schedule`) called *id*.

    The record's fields: `action`, `by`, `why`, and `execution_id` or `schedule_id`.
    """
    by = by or user()
    fields = {"action": action, "by": by, "why": why, f"{what}_id": id}
    log.info("%s of %s %r by %s%s", action, what, id, by, f": {why}" if why else "", extra=fields)


def user() -> str:
    """Return the name of the user who runs this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "operator"
