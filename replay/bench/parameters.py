"""Parameters of a benchmark: store, queue, size and number of runs."""

from __future__ import annotations

from typing import Any

import attrs

from replay.bench.harness import Say
from replay.client.histories import History
from replay.definition import Workflow


@attrs.frozen
class Parameters:
    """Parameters of a workload.

    Attributes:
        store: URL of the store (benchmarks use a namespace of their own in it).
        queue: URL of the queue. None sends hints over the store's bus.
        n: Size. None is the workload's usual size.
        runs: Number of runs of each case.
        workflow: A workflow of the user, for `replay`.
        history: A history of that workflow.
        say: Called with a line of progress.
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
        """Return whether other processes can use the store."""
        return not self.store.startswith("memory://")

    @property
    def system(self) -> str:
        """Return the name of the store in figures: its scheme, and the queue's."""
        schemes = [url.partition("://")[0] for url in (self.store, self.queue) if url]
        return " + ".join(schemes)
