"""Live work: sequential steps of one execution, many executions side by side, latency; against raw limits of the same file.

python -m benchmarks.stepping [--store memory|sqlite|URL] [--steps 2000]
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from benchmarks.harness import measure, rate, report
from replay import Context, Engine, workflow


def body() -> int:
    """Do nothing."""
    return 1


@workflow
def chain(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Run *n* steps in a row."""
    for i in range(n):
        yield ctx.step(f"s{i}", body)
    return n


def sequential(engine: Engine, steps: int) -> float:
    """Return steps per second of one execution."""
    return rate(steps, lambda: engine.start(chain, steps).result(600))


def side_by_side(engine: Engine, executions: int, steps: int) -> float:
    """Return steps per second over all of *executions*."""

    def work() -> None:
        for handle in [engine.start(chain, steps) for _ in range(executions)]:
            handle.result(600)

    return rate(executions * steps, work)


def latency(engine: Engine, times: int = 200) -> float:
    """Return the median milliseconds from start to result of a 3-step execution."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        engine.start(chain, 3).result(60)
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def raw_commits(folder: Path, count: int = 2000) -> float:
    """Return single durable commits per second that SQLite gives on this disk."""
    db = sqlite3.connect(folder / "raw.db", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, entry BLOB)")

    def work() -> None:
        for _ in range(count):
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO log (entry) VALUES (?)", (b"x" * 80,))
            db.execute("COMMIT")

    found = rate(count, work)
    db.close()
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="memory")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--executions", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        name = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/bench.db"}.get(options.store, options.store)
        with Engine(name, workflows=[chain], worker=True, concurrency=options.concurrency) as engine:
            cases = {"sequential": lambda: sequential(engine, options.steps)}
            baseline = "sequential"
            if options.store == "sqlite":
                cases["raw single commits"] = lambda: raw_commits(Path(folder))
                baseline = "raw single commits"
            label = f"{options.executions} side by side"
            cases[label] = lambda: side_by_side(engine, options.executions, max(10, options.steps // 50))
            report(
                "steps",
                "steps/s",
                measure(cases, options.runs),
                n=options.steps,
                baseline=baseline,
                store=options.store,
            )
            report("executions", "executions/s", measure({"2,000 of 3 steps": lambda: side_by_side(engine, 2000, 3) / 3}, options.runs),
                   n=2000, store=options.store)  # fmt: skip
            report(
                "latency",
                "ms p50",
                measure({"start to result": lambda: latency(engine)}, options.runs),
                n=200,
                store=options.store,
            )


if __name__ == "__main__":
    main()
