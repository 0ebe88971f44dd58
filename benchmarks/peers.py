"""Replay of 10,000 recorded steps in other installed engines (fewer steps where that takes minutes).

python -m benchmarks.peers [--steps 10000] [--postgres URL]      needs: pip install 'replay-engine[peers]'
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from replay.bench.harness import Figure, rate
from replay.bench.replaying import log_of, plain, replay
from replay.codec import TaggedJson


def ours(steps: int) -> Iterator[Figure]:
    """Measure this engine, for the ratio."""
    codec = TaggedJson()
    rows = log_of(steps, 42, codec)
    values = tuple(rate(steps, lambda: replay(plain, steps, rows.copy(), codec)) for _ in range(3))
    yield Figure("replay", "replay", "recorded steps", "steps/s", steps, values)


def durabletask(steps: int) -> Iterator[Figure]:
    """Measure durabletask's executor on a synthesised history."""
    import logging

    import durabletask.internal.helpers as h
    from durabletask.serialization import JsonDataConverter
    from durabletask.worker import _OrchestrationExecutor, _Registry

    def body(ctx: Any, item: Any) -> Any:
        return item

    def orchestrator(ctx: Any, n: int) -> Any:
        for i in range(n):
            yield ctx.call_activity(body, input=i)
        return n

    registry = _Registry()
    name = registry.add_orchestrator(orchestrator)
    registry.add_activity(body)
    events = [h.new_orchestrator_started_event(), h.new_execution_started_event(name, "x", encoded_input=str(steps))]
    for i in range(1, steps + 1):
        events += [h.new_task_scheduled_event(i, "body"), h.new_task_completed_event(i, "42")]

    def work() -> None:
        executor = _OrchestrationExecutor(registry, logging.getLogger("peers"), JsonDataConverter())
        executor.execute("x", events, [h.new_orchestrator_started_event()])

    yield Figure(
        "replay", "durabletask", "recorded steps", "steps/s", steps, tuple(rate(steps, work) for _ in range(3))
    )


def dbos(steps: int, postgres: str | None) -> Iterator[Figure]:
    """Measure DBOS: sequential steps of one workflow (it keeps no log that could be replayed alone)."""
    with tempfile.TemporaryDirectory() as folder:
        yield _dbos_on("sqlite", f"sqlite:///{folder}/dbos.sqlite", min(steps, 1000))
    if postgres is not None:
        yield _dbos_on("postgresql", postgres, min(steps, 1000))


def _dbos_on(name: str, url: str, count: int) -> Figure:
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {"name": "bench", "system_database_url": url}
    DBOS(config=config)

    @DBOS.step()
    def body() -> int:
        return 1

    @DBOS.workflow()
    def chain(n: int) -> int:
        for _ in range(n):
            body()
        return n

    DBOS.launch()
    values = tuple(rate(count, lambda: chain(count)) for _ in range(3))
    DBOS.destroy(destroy_registry=True)
    return Figure("steps", f"dbos ({name})", "one execution, in a row", "steps/s", count, values)


def temporal(steps: int) -> Iterator[Figure]:
    """Measure Temporal's replayer."""
    from benchmarks.temporal import figures

    yield from figures(steps)


def main() -> None:
    """Print the figures of each installed engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--postgres", metavar="URL", help="A database that DBOS may fill.")
    options = parser.parse_args()
    peers: dict[str, Callable[[int], Iterator[Figure]]] = {
        "durabletask": durabletask,
        "dbos": lambda steps: dbos(steps, options.postgres),
        "temporalio": temporal,
    }
    for figure in ours(options.steps):
        print(json.dumps(figure.line()), flush=True)
    for name, peer in peers.items():
        if find_spec(name) is None:
            print(f"{name} is not installed: skipped. Fix: pip install 'replay-engine[peers]'", file=sys.stderr)
            continue
        began = time.perf_counter()
        try:
            for figure in peer(options.steps):
                print(json.dumps(figure.line()), flush=True)
        except Exception as error:  # another version of the peer has other internals
            took = time.perf_counter() - began
            print(f"{name} could not be measured ({took:.0f} s): {type(error).__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
