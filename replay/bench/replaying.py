"""Benchmark of replay from stored bytes, with and without orjson, beside the machine's baselines."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from typing import Any

from replay import Context, workflow
from replay.bench.harness import Figure, measure, once, rate
from replay.bench.parameters import Parameters
from replay.codec import TaggedJson
from replay.core.interpreter import Interpreter
from replay.core.requests import Header
from replay.worker.sources import make_context

HEADER = Header("bench", "bench", "", "default", "running", b"null", 1.0, 1.0)


def work(i: int = 0) -> int:
    """Serve as a step's body (never called)."""
    return i


@workflow
def plain(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Yield *n* steps."""
    for i in range(n):
        yield ctx.step(f"s{i}", work)
    return n


@workflow
def with_arguments(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Yield *n* steps with an argument, so that digests are compared."""
    for i in range(n):
        yield ctx.step(f"s{i}", work, i)
    return n


def log_of(n: int, result: Any, codec: TaggedJson, *, digests: bool = False) -> list[bytes]:
    """Return a synthesised log of *n* steps."""
    rows = [codec.encode(["Began", 1793000000.0, 0, "", "w", 1])]
    for i in range(n):
        digest = codec.digest((i,), {}) if digests else None
        row = codec.encode(["StepDone", 1793000000.0 + i / 1000, 0, f"s{i}", result, digest, 1, 0.0001])
        rows.append(b"%b" % row)  # as a store returns it: the encoder over-allocates
    return rows


def replay(definition: Any, n: int, rows: list[bytes], codec: TaggedJson) -> None:
    """Replay *rows* as a session does, which frees each row after use."""
    interpreter = Interpreter(
        lambda ctx: definition.generator(ctx, n), make_context(HEADER, lambda change: True), digest=codec.digest
    )
    interpreter.feed_log(rows, codec.decode_rows)
    if interpreter.outcome is None or interpreter.outcome.value != n:
        raise AssertionError("the replay did not come to its end")


def bare(n: int) -> None:
    """Drive a bare generator: the lower bound."""

    def generator() -> Generator[int, Any, None]:
        for i in range(n):
            yield i

    send = generator().send
    send(None)
    for _ in range(n - 1):
        send(1)


def look_up(ids: list[str], recorded: dict[str, list[Any]]) -> None:
    """Look up and check each command: the least work of any replay."""
    for id in ids:
        if recorded[id][0] != "StepDone":
            raise AssertionError(id)


def peak_ratio(n: int) -> float:
    """Return the peak memory of a replay, the log included, as a multiple of the log's bytes."""
    codec = TaggedJson()
    tracemalloc.start()
    rows = log_of(n, 42, codec)
    size = sum(map(len, rows))
    codec.decode_rows(rows[:1])
    tracemalloc.reset_peak()
    replay(plain, n, rows, codec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / size


def run(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure synthesised logs, or the user's own workflow and history."""
    if parameters.history is not None:
        yield from _own(parameters)
        return
    fast, slow = TaggedJson(), TaggedJson("json")
    rows = log_of(n, 42, fast)
    recorded = {row[3]: row for row in fast.decode_rows(rows[1:])}
    ids = list(recorded)
    dicts = log_of(n, {"id": 7, "ok": True, "name": "abc"}, fast)
    digests = log_of(n, 42, fast, digests=True)
    cases: dict[str, Callable[[], float]] = {
        "bare gen.send": lambda: rate(n, lambda: bare(n)),
        "look up and check": lambda: rate(n, lambda: look_up(ids, recorded)),
        "rows as one JSON array": lambda: rate(n, lambda: json.loads(b"[" + b",".join(rows) + b"]")),
        "replay": lambda: rate(n, lambda: replay(plain, n, rows.copy(), fast)),
        "replay, standard json": lambda: rate(n, lambda: replay(plain, n, rows.copy(), slow)),
        "replay, small dicts": lambda: rate(n, lambda: replay(plain, n, dicts.copy(), fast)),
        "replay, arguments compared": lambda: rate(n, lambda: replay(with_arguments, n, digests.copy(), fast)),
    }
    yield from measure(
        "replay", "commands/s", cases, n=n, runs=parameters.runs, baseline="bare gen.send", say=parameters.say
    )
    longer = 100 * n
    long = log_of(longer, 42, fast)
    cases = {
        f"{n:,} steps": lambda: rate(n, lambda: replay(plain, n, rows.copy(), fast)),
        f"{longer:,} steps": lambda: rate(longer, lambda: replay(plain, longer, long.copy(), fast)),
    }
    few = min(3, parameters.runs)
    yield from measure(
        "linearity", "commands/s", cases, n=longer, runs=few, baseline=f"{n:,} steps", say=parameters.say
    )
    yield once("memory", "peak while replaying", "x log bytes", peak_ratio(10 * n), n=10 * n)


def _own(parameters: Parameters) -> Iterator[Figure]:
    """Measure a workflow of the user on its history."""
    from replay.testing.checks.replaying import replay as replay_history

    history, definition = parameters.history, parameters.workflow
    if history is None or definition is None:
        raise ValueError("--history needs --workflow, and the other way round")
    recorded = history.recorded
    count = len(recorded.rows)
    codec = TaggedJson()
    cases: dict[str, Callable[[], float]] = {
        "bare gen.send": lambda: rate(count, lambda: bare(count)),
        definition.key: lambda: rate(count, lambda: replay_history(definition, recorded, codec=codec).close()),
    }
    yield from measure(
        "replay",
        "entries/s",
        cases,
        n=count,
        runs=parameters.runs,
        baseline="bare gen.send",
        say=parameters.say,
        history=True,
    )
