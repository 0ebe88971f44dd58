"""Where and how much to measure."""

from __future__ import annotations

from typing import Any

import attrs

from replay.bench.harness import Say
from replay.client.histories import History
from replay.definition import Workflow


@attrs.frozen
class Parameters:
    """What a workload is given.

    Attributes:
        store: URL of the store (benchmarks use a namespace of their own in it).
        queue: URL of the queue, None: hints go over the store's bus.
        n: Size; None: the workload's usual one.
        runs: How often each case is measured.
        workflow, history: The user's own, for `replay`.
        say: Told what is being measured.
    """

    store: str
    queue: str | None = None
    n: int | None = None
    runs: int = 3
    workflow: Workflow[Any, Any] | None = None
    history: History | None = None
    say: Say = lambda text: None

    @property
    def is_shared(self) -> bool:
        """Whether other processes can work on the store."""
        return not self.store.startswith("memory://")

    @property
    def system(self) -> str:
        """Return how the store is named in figures: its scheme, and the queue's."""
        schemes = [url.partition("://")[0] for url in (self.store, self.queue) if url]
        return " + ".join(schemes)
