"""Ids of commands in the log: scoped by their member, numbered if repeated (`ship`, `ship#2`, `ship#3`)."""

from __future__ import annotations

from replay.core.ids import check_step_id, check_text


class CommandIds:
    """The ids that an execution's commands have been given. `counts` holds the highest number given to each id."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def unique(self, prefix: str, id: str, kind: str) -> str:
        """Return the id under which a command stands in the log.

        Raises:
            ReservedId: *id* is no text, is empty or too long, or has a reserved prefix.
        """
        counts = self.counts
        full = prefix + (id if id.__class__ is str else check_text(id, kind))
        count = counts.get(full)
        if count is None:
            count = self._is_numbered(full) if "#" in full else 0
        if count == 0:
            check_step_id(id, kind)  # before it counts: what was refused once is refused again
            counts[full] = 1
            return full
        while (numbered := f"{full}#{count + 1}") in counts:
            count += 1
        counts[full] = count + 1
        return numbered

    def _is_numbered(self, id: str) -> int:
        """Return 1 if *id* (which nobody has yielded as such) was given to the repetition of another id, else 0."""
        base, _, number = id.rpartition("#")
        return int(base in self.counts and number.isdecimal() and 2 <= int(number) <= self.counts[base])
