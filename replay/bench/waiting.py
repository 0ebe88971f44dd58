"""Waiting at scale: suspended executions, their waking by signals, and timers that are due at once."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Generator, Iterator
from typing import Any

from replay import Context, Engine, Signal, workflow
from replay.bench.harness import Figure, once
from replay.bench.live import open_engine
from replay.bench.setting import Setting
from replay.core.requests import Count

Go = Signal[Any]("go")


@workflow("bench.waits")
def waits(ctx: Context) -> Generator[Any, Any, int]:
    """Wait for one signal."""
    yield ctx.wait_for_signal(Go)
    return 1


@workflow("bench.sleeps")
def sleeps(ctx: Context, until: float) -> Generator[Any, Any, float]:
    """Sleep until an instant; give the instant of waking."""
    yield ctx.sleep_until(until)
    return ctx.now()


def suspended(setting: Setting) -> Iterator[Figure]:
    """Measure what a waiting execution costs, and how fast many are woken."""
    n = setting.n or 10_000
    with open_engine(setting, [waits]) as engine:
        handles = [engine.start(waits) for _ in range(n // 10)]
        _until_all(engine, "bench.waits", "sleeping", len(handles), setting)
        before = _memory()
        began = time.perf_counter()
        handles += [engine.start(waits) for _ in range(n - len(handles))]
        _until_all(engine, "bench.waits", "sleeping", n, setting)
        started = (n - n // 10) / (time.perf_counter() - began)
        yield once("suspended", "start until all sleep", "executions/s", started, n=n, system=setting.system)
        yield once("suspended", "process grows by", "MiB", (_memory() - before) / 2**20, n=n, system=setting.system)
        began = time.perf_counter()
        for handle in handles:
            handle.signal(Go)
        _until_all(engine, "bench.waits", "completed", n, setting)
        yield once(
            "suspended",
            "signalled until all ended",
            "executions/s",
            n / (time.perf_counter() - began),
            n=n,
            system=setting.system,
        )


def timers(setting: Setting) -> Iterator[Figure]:
    """Measure many timers due at one instant: how long until the last has fired, and whether one was early."""
    n = setting.n or 5_000
    with open_engine(setting, [sleeps]) as engine:
        due = time.time() + 2 + n / 500
        handles = [engine.start(sleeps, due) for _ in range(n)]
        _until_all(engine, "bench.sleeps", "sleeping", n, setting)
        _until_all(engine, "bench.sleeps", "completed", n, setting)
        yield once("timers", "last fired after", "s", max(0.0, time.time() - due), n=n, system=setting.system)
        early = sum(handle.result() < due for handle in handles[:: max(1, n // 500)])
        yield once("timers", "fired early (of a sample)", "executions", early, n=n, system=setting.system)


def _until_all(engine: Engine, key: str, status: str, count: int, setting: Setting) -> None:
    first = engine.ask(Count(key)).get(status, 0)
    while (found := engine.ask(Count(key)).get(status, 0)) < count:
        setting.say(f"{key}: {found - first:,} of {count:,} {status}")
        if engine.runner is not None and engine.runner.failure is not None:
            raise RuntimeError("the worker stopped") from engine.runner.failure
        time.sleep(0.02)


def _memory() -> float:
    """Return the process's peak resident size, bytes (macOS tells bytes, others kilobytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
