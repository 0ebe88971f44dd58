"""Benchmarks of waiting: suspended executions, wake-ups by signals, simultaneous timers, and long logs."""

from __future__ import annotations

import resource
import secrets
import statistics
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

from replay import Context, Engine, Signal, workflow
from replay.bench.harness import Figure, measure, once
from replay.bench.live import body, chain, open_engine, worker_processes
from replay.bench.parameters import Parameters
from replay.bench.replaying import log_of
from replay.codec import TaggedJson
from replay.core.requests import Count, Create, Get

Go = Signal[Any]("go")

WOKEN = threading.Event()
"""Set by the step after a wake-up."""

WAKES = 20
"""Wake-ups of one execution in one run."""


@workflow("bench.waits")
def waits(ctx: Context) -> Generator[Any, Any, int]:
    """Wait for one signal."""
    yield ctx.wait_for_signal(Go)
    return 1


@workflow("bench.sleeps")
def sleeps(ctx: Context, until: float) -> Generator[Any, Any, float]:
    """Sleep until an instant. Returns the instant of waking."""
    yield ctx.sleep_until(until)
    return ctx.now()


@workflow("bench.wakes")
def wakes(ctx: Context, n: int) -> Generator[Any, Any, None]:
    """Run *n* steps, then one for each signal."""
    for i in range(n):
        yield ctx.step(f"s{i}", body)
    while True:
        yield ctx.wait_for_signal(Go)
        yield ctx.step("woken", WOKEN.set)


SERVED = [chain, waits]
"""Workflows served by a worker process of these benchmarks."""


def suspended(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure the cost of waiting executions, and the rate of wake-ups in this process and in a worker process."""
    with open_engine(parameters, [waits]) as engine:
        before = _memory()
        yield from _suspended(engine, "", parameters, n)
        yield once("suspended", "process grows by", "MiB", (_memory() - before) / 2**20, n=n, system=parameters.system)
    if parameters.is_shared:
        with worker_processes(parameters, 1, "replay.bench.waiting:SERVED") as engine:
            yield from _suspended(engine, ", one worker process", parameters, n)


def _suspended(engine: Engine, where: str, parameters: Parameters, n: int) -> Iterator[Figure]:
    done = engine.ask(Count("bench.waits")).get("completed", 0)

    def rate_until(status: str, count: int, began: float) -> float:
        _until_all(engine, "bench.waits", status, count, parameters)
        return n / (time.perf_counter() - began)

    began = time.perf_counter()
    handles = [engine.start(waits) for _ in range(n)]
    started = rate_until("sleeping", n, began)
    yield once("suspended", f"start until all sleep{where}", "executions/s", started, n=n, system=parameters.system)
    began = time.perf_counter()
    for handle in handles:
        handle.signal(Go)
    ended = rate_until("completed", done + n, began)
    yield once("suspended", f"signalled until all ended{where}", "executions/s", ended, n=n, system=parameters.system)


def waking(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure the time of a wake-up after few and after many steps, live and from the log."""
    short, long = max(1, n // 1000), n
    names = {short: f"log of {short:,} steps", long: f"log of {long:,} steps"}
    for cached in (True, False):
        options = {"log_limit": 2 * long + 1000, "cache_size": 10 if cached else 0}
        with open_engine(parameters, [wakes], **options) as engine:
            cases: dict[str, Callable[[], float]] = {
                f"{name}, {'live' if cached else 'replayed'}": _waker(engine, steps) for steps, name in names.items()
            }
            yield from measure(
                "waking", "ms", cases, n=n, runs=parameters.runs, system=parameters.system, baseline=next(iter(cases)),
                say=parameters.say,
            )  # fmt: skip


def _waker(engine: Engine, steps: int) -> Callable[[], float]:
    """Start an execution of *steps* steps. Returns a function that wakes it several times and returns the median, ms."""
    id = f"wakes-{secrets.token_hex(4)}"
    engine.ask(Create(id, "bench.wakes", b"%d" % steps, entries=tuple(log_of(steps, 1, TaggedJson()))))
    engine.recover()

    def once_awake() -> float:
        while (header := engine.ask(Get(id))) is None or header.status != "sleeping":
            time.sleep(0.001)
        WOKEN.clear()
        began = time.perf_counter()
        engine.signal(id, Go)
        WOKEN.wait(60)
        return (time.perf_counter() - began) * 1000

    once_awake()
    return lambda: statistics.median(once_awake() for _ in range(WAKES))


def timers(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure many timers due at one instant: the delay of the last, and the number of early ones."""
    with open_engine(parameters, [sleeps]) as engine:
        due = time.time() + 2 + n / 500
        handles = [engine.start(sleeps, due) for _ in range(n)]
        _until_all(engine, "bench.sleeps", "sleeping", n, parameters)
        _until_all(engine, "bench.sleeps", "completed", n, parameters)
        yield once("timers", "last fired after", "s", max(0.0, time.time() - due), n=n, system=parameters.system)
        early = sum(handle.result() < due for handle in handles[:: max(1, n // 500)])
        yield once("timers", "fired early (of a sample)", "executions", early, n=n, system=parameters.system)


def _until_all(engine: Engine, key: str, status: str, count: int, parameters: Parameters) -> None:
    first = engine.ask(Count(key)).get(status, 0)
    while (found := engine.ask(Count(key)).get(status, 0)) < count:
        parameters.say(f"{key}: {found - first:,} of {count:,} {status}")
        if engine.runner is not None and engine.runner.failure is not None:
            raise RuntimeError("the worker stopped") from engine.runner.failure
        time.sleep(0.02)


def _memory() -> float:
    """Return the process's peak resident size, bytes. macOS counts in bytes, others in kilobytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
