"""Fan-out benchmark: a member of `ctx.all` must cost the same at every size, with and without a limit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

from replay import Context, workflow
from replay.bench.harness import Figure, measure, rate
from replay.bench.live import body, open_engine
from replay.bench.parameters import Parameters


@workflow("bench.fan")
def fan(ctx: Context, size: list[int]) -> Generator[Any, Any, int]:
    """Run `size[0]` steps side by side, `size[1]` at a time (0: all)."""
    members, limit = size
    found = yield ctx.all([ctx.step("m", body) for _ in range(members)], limit=limit or None)
    return len(found)


def fanout(parameters: Parameters, n: int) -> Iterator[Figure]:
    """Measure members per second at three sizes."""
    with open_engine(parameters, [fan]) as engine:

        def members(count: int, limit: int) -> Callable[[], float]:
            return lambda: rate(count, lambda: engine.start(fan, [count, limit]).result(600))

        cases = {
            f"{n // 10:,} members": members(n // 10, 0),
            f"{n:,} members": members(n, 0),
            f"{n * 10:,} members": members(n * 10, 0),
            f"{n // 10:,} members, 50 at a time": members(n // 10, 50),
            f"{n:,} members, 50 at a time": members(n, 50),
        }
        yield from measure(
            "fanout", "members/s", cases, n=n, runs=parameters.runs, system=parameters.system,
            baseline=f"{n // 10:,} members", say=parameters.say,
        )  # fmt: skip
