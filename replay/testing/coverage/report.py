"""Report of durable coverage: the arms that no test took, with their lines."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from replay.definition import Workflow
from replay.testing.coverage.arms import Site, sites_of
from replay.testing.coverage.observed import Taken

Plain: TypeAlias = dict[str, dict[str, list[Any]]]
"""Coverage as plain data, for another process: by workflow and line, the expected arms and those taken."""


@attrs.define
class Covered:
    """One command: its arms, and those that were taken."""

    arms: tuple[str, ...]
    taken: set[str] = attrs.field(factory=set)


class Coverage:
    """Coverage of workflows, by key and by the text of each command's place.

    Attributes:
        unread: Keys of workflows whose source is not available.
    """

    def __init__(self) -> None:
        self.workflows: dict[str, dict[str, Covered]] = {}
        self.unread: set[str] = set()

    def add(self, workflow: Workflow[Any, Any], taken: Iterable[Taken]) -> None:
        """Add a workflow with the arms that its executions took."""
        try:
            sites = sites_of(workflow)
        except (OSError, TypeError, SyntaxError):
            self.unread.add(workflow.key)
            return
        found = self.workflows.setdefault(workflow.key, {})
        for site in sites:
            found.setdefault(label(site), Covered(site.arms))
        for each in taken:
            for site in matching(sites, each):
                found[label(site)].taken.add(each.arm)

    def plain(self) -> Plain:
        """Return the coverage as plain data."""
        return {
            key: {place: [list(each.arms), sorted(each.taken)] for place, each in places.items()}
            for key, places in self.workflows.items()
        }

    def merge(self, plain: Plain) -> None:
        """Add the coverage of another process."""
        for key, places in plain.items():
            found = self.workflows.setdefault(key, {})
            for place, (arms, taken) in places.items():
                found.setdefault(place, Covered(tuple(arms))).taken.update(taken)

    def percent(self) -> float:
        """Return the share of arms that were taken, in percent."""
        taken, arms = _count(each for places in self.workflows.values() for each in places.values())
        return 100.0 if not arms else 100.0 * taken / arms

    def lines(self) -> Iterator[str]:
        """Yield the report: a line for each workflow, and one for each command with arms that no test took."""
        width = max([8, *(len(key) for key in self.workflows)])
        yield f"{'workflow':<{width}}  arms  missed  cover"
        for key, places in sorted(self.workflows.items()):
            yield _summary(f"{key:<{width}}", places)
            for place, each in places.items():
                if missed := [arm for arm in each.arms if arm not in each.taken]:
                    yield f"  {place}: never {', '.join(missed)}"
        every = {f"{key} {place}": each for key, places in self.workflows.items() for place, each in places.items()}
        yield _summary(f"{'TOTAL':<{width}}", every)
        yield from (f"  {key}: its source is not available" for key in sorted(self.unread))


def label(site: Site) -> str:
    """Return a command's place and name: `shop.py:14 step 'reserve'`."""
    return f"{os.path.relpath(site.path)}:{site.line} {site.kind} {site.name}".rstrip()


def matching(sites: Iterable[Site], taken: Taken) -> list[Site]:
    """Return the command that took an arm; several, if the code does not tell which it was."""
    kind = [site for site in sites if site.kind in taken.kinds]
    named = [site for site in kind if re.fullmatch(site.pattern, taken.id, re.DOTALL)]
    exact = [site for site in named if site.pattern == re.escape(taken.id)] or named
    path, _, line = taken.place.rpartition(":")
    here = [site for site in exact if line.isdigit() and site.path == path and site.first <= int(line) <= site.last]
    return here or exact


def _summary(name: str, places: Mapping[str, Covered]) -> str:
    taken, arms = _count(places.values())
    return f"{name}  {arms:4}  {arms - taken:6}  {100 * taken // arms if arms else 100:4}%"


def _count(covered: Iterable[Covered]) -> tuple[int, int]:
    each = [(len(set(found.arms) & found.taken), len(found.arms)) for found in covered]
    return sum(taken for taken, _ in each), sum(arms for _, arms in each)
