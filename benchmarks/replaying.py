"""Replay from stored bytes: commands per second, with and without orjson, against the raw limits of the same machine.

python -m benchmarks.replaying [--steps 10000] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import tracemalloc
from collections.abc import Generator
from typing import Any

import attrs

from benchmarks.harness import measure, rate, report
from replay import Context, workflow
from replay.codec import TaggedJson
from replay.core.interpreter import Interpreter
from replay.core.requests import Header
from replay.core.session import CHUNK
from replay.determinism import make_context

HEADER = Header("bench", "bench", "", "default", "running", b"null", 1.0, 1.0)


def work(i: int) -> int:
    """Stand for a step's body (never called)."""
    return i


@workflow
def plain(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Yield *n* steps."""
    for i in range(n):
        yield ctx.step(f"s{i}", work)
    return n


@workflow
def with_arguments(ctx: Context, n: int) -> Generator[Any, Any, int]:
    """Yield *n* steps with an argument, whose fingerprint is compared."""
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
    """Replay *rows* as a session does."""
    interpreter = Interpreter(
        lambda ctx: definition.generator(ctx, n), make_context(HEADER, lambda change: True), digest=codec.digest
    )
    for start in range(0, len(rows), CHUNK):
        interpreter.feed_rows(codec.decode_rows(rows[start : start + CHUNK]))
    assert interpreter.outcome is not None and interpreter.outcome.value == n


def bare(n: int) -> None:
    """Drive a generator that yields nothing of interest: the floor."""

    def generator() -> Generator[int, Any, None]:
        for i in range(n):
            yield i

    send = generator().send
    send(None)
    for _ in range(n - 1):
        send(1)


def peak_ratio(n: int) -> float:
    """Return the peak of memory while replaying, as a multiple of the log's bytes (the log itself included)."""
    codec = TaggedJson()
    tracemalloc.start()
    rows = log_of(n, 42, codec)
    codec.decode_rows(rows[:1])
    tracemalloc.reset_peak()
    replay(plain, n, rows, codec)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / sum(map(len, rows))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--profile", action="store_true", help="name the hot functions instead")
    options = parser.parse_args()
    n = options.steps
    fast, slow = TaggedJson(), TaggedJson("json")
    rows = log_of(n, 42, fast)
    if options.profile:
        cProfile.runctx("replay(plain, n, rows, fast)", globals(), locals(), sort="tottime")
        return
    dicts = log_of(n, {"id": 7, "ok": True, "name": "abc"}, fast)
    digests = log_of(n, 42, fast, digests=True)
    cases = {
        "bare gen.send": lambda: rate(n, lambda: bare(n)),
        "json array of all rows": lambda: rate(n, lambda: json.loads(b"[" + b",".join(rows) + b"]")),
        "replay": lambda: rate(n, lambda: replay(plain, n, rows, fast)),
        "replay, standard json": lambda: rate(n, lambda: replay(plain, n, rows, slow)),
        "replay, small dicts": lambda: rate(n, lambda: replay(plain, n, dicts, fast)),
        "replay, arguments compared": lambda: rate(n, lambda: replay(with_arguments, n, digests, fast)),
    }
    report("replay", "commands/s", measure(cases, options.runs), n=n, baseline="bare gen.send")
    if options.long:
        long = log_of(options.long, 42, fast)
        cases = {
            f"{n:,} steps": lambda: rate(n, lambda: replay(plain, n, rows, fast)),
            f"{options.long:,} steps": lambda: rate(options.long, lambda: replay(plain, options.long, long, fast)),
        }
        report("linearity", "commands/s", measure(cases, 3), n=options.long, baseline=f"{n:,} steps")
    report("memory", "x log bytes", {"peak while replaying": [peak_ratio(100_000)]}, n=100_000)


if __name__ == "__main__":
    attrs.resolve_types(Header)
    main()
