"""Benchmarks of live work: sequential steps, parallel executions and latency, beside the store's baselines."""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from replay import Context, Engine, workflow
from replay.bench.harness import Figure, measure, rate
from replay.bench.parameters import Parameters
from replay.bench.raw import raw_cases
from replay.core.requests import Workers

NAMESPACE = "replay-bench"


def body() -> int:
    """Do nothing."""
    return 1


@workflow("bench.chain")
def chain(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Run *n* steps in a row."""
    for i in range(n):
        yield ctx.step(f"s{i}", body)
    return n


def open_engine(parameters: Parameters, workflows: list[Any], **options: Any) -> Engine:
    """Return an engine with a worker. Ended executions are purged after a minute."""
    options = {"worker": True, "concurrency": 100, "retention": 60, **options}
    return Engine(parameters.store, queue=parameters.queue, workflows=workflows, namespace=NAMESPACE, **options)


@contextlib.contextmanager
def worker_processes(parameters: Parameters, count: int, target: str = "replay.bench.live:chain") -> Iterator[Engine]:
    """Start *count* worker processes, wait until they are ready, and yield an engine without a worker.

    Args:
        target: `module:object` of the workflows that they serve; `chain` must be among them.
    """
    command = [
        sys.executable,
        "-m",
        "replay.cli.worker",
        target,
        "--store",
        parameters.store,
        "-c",
        "100",
    ]
    command += [
        "--namespace",
        NAMESPACE,
        "--log-level",
        "error",
        *(["--queue", parameters.queue] if parameters.queue else []),
    ]
    running = [subprocess.Popen(command) for _ in range(count)]  # noqa: S603  # our own
    try:
        with open_engine(parameters, [chain], worker=False) as engine:
            while len(engine.ask(Workers())) < count or engine.start(chain, 1).result(60) != 1:
                time.sleep(0.02)
            yield engine
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def _in_processes(parameters: Parameters, count: int, work: Callable[[Engine], float]) -> Callable[[], float]:
    def case() -> float:
        with worker_processes(parameters, count) as engine:
            return work(engine)

    return case


def steps(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure recorded steps per second."""
    each = max(10, n // 50)
    raw = raw_cases(parameters.store, parameters.queue, n)
    cases: dict[str, Callable[[], float]] = {
        **raw,
        "one execution, in a row": _in_one(
            parameters, lambda engine: rate(n, lambda: engine.start(chain, n).result(600))
        ),
        "100 executions side by side": _in_one(parameters, lambda engine: _side_by_side(engine, 100, each)),
    }
    if parameters.is_shared:
        for count in (1, 2):
            cases[f"100 side by side, {count} worker processes"] = _in_processes(
                parameters, count, lambda engine: _side_by_side(engine, 100, each)
            )
    baseline = next(iter(raw), "one execution, in a row")
    yield from measure(
        "steps",
        "steps/s",
        cases,
        n=n,
        runs=parameters.runs,
        system=parameters.system,
        baseline=baseline,
        say=parameters.say,
    )


def executions(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure short executions, from the first start to the last end."""
    cases = {"of 3 steps, worker in this process": _in_one(parameters, lambda engine: _side_by_side(engine, n, 3) / 3)}
    if parameters.is_shared:
        cases["of 3 steps, one worker process"] = _in_processes(
            parameters, 1, lambda engine: _side_by_side(engine, n, 3) / 3
        )
    yield from measure(
        "executions", "executions/s", cases, n=n, runs=parameters.runs, system=parameters.system, say=parameters.say
    )


def _in_one(parameters: Parameters, work: Callable[[Engine], float]) -> Callable[[], float]:
    def case() -> float:
        with open_engine(parameters, [chain]) as engine:
            engine.start(chain, 1).result(60)
            return work(engine)

    return case


def latency(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure one execution at a time, from start to result."""
    with open_engine(parameters, [chain]) as engine:
        last: dict[int, list[float]] = {}

        def times(steps: int) -> list[float]:
            found = []
            for _ in range(n):
                began = time.perf_counter()
                engine.start(chain, steps).result(60)
                found.append((time.perf_counter() - began) * 1000)
            last[steps] = found
            return found

        cases: dict[str, Callable[[], float]] = {
            "1 step, p50": lambda: statistics.median(times(1)),
            "3 steps, p50": lambda: statistics.median(times(3)),
            "3 steps, p99": lambda: statistics.quantiles(last[3], n=100)[98],
        }
        yield from measure(
            "latency", "ms", cases, n=n, runs=parameters.runs, system=parameters.system, say=parameters.say
        )


def _side_by_side(engine: Engine, count: int, steps: int) -> float:
    def work() -> None:
        for handle in [engine.start(chain, steps) for _ in range(count)]:
            handle.result(600)

    return rate(count * steps, work)
