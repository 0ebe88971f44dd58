"""What all benchmarks share: interleaved runs, medians, JSON lines and a table."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def measure(cases: Mapping[str, Callable[[], float]], runs: int = 5) -> dict[str, list[float]]:
    """Run each case *runs* times, in turn (A B A B ...), after one warm-up; a case returns its own figure."""
    for case in cases.values():
        case()
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(runs):
        for name, case in cases.items():
            found[name].append(case())
    return found


def rate(count: int, work: Callable[[], Any]) -> float:
    """Return how many of *count* things a second *work* does."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def report(
    workload: str, unit: str, found: Mapping[str, list[float]], *, n: int, baseline: str | None = None, **facts: Any
) -> None:
    """Print one JSON line for each case on standard output, and a table on standard error."""
    base = statistics.median(found[baseline]) if baseline is not None else None
    for case, figures in found.items():
        median = statistics.median(figures)
        line = {
            "workload": workload,
            "case": case,
            "unit": unit,
            "n": n,
            "median": round(median, 3),
            "min": round(min(figures), 3),
            "max": round(max(figures), 3),
            "ratio": None if base is None else round(median / base, 4),
            "baseline": baseline,
            "python": platform.python_version(),
            "versions": versions(),
            **facts,
        }
        print(json.dumps(line), flush=True)
        ratio = "" if base is None else f"{median / base:9.3f} x {baseline}"
        print(
            f"{workload:<12} {case:<28} {median:>14,.1f} {unit:<14} [{min(figures):,.1f} .. {max(figures):,.1f}]{ratio}",
            file=sys.stderr,
        )


def versions() -> dict[str, str]:
    """Return the versions of what matters here."""
    found = {}
    for name in ("replay-engine", "attrs", "orjson", "redis", "hiredis", "pika"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
