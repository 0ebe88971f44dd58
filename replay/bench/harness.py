"""Benchmark harness: interleaved runs, medians, ratios within one run, JSON lines and comparisons."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

Say = Callable[[str], None]

REST = 0.5
"""Seconds of rest before a case: within this time the scheduler forgets how busy each core was."""


@attrs.frozen
class Figure:
    """One measured case.

    Attributes:
        workload: Name of the workload.
        system: Engine or store that was measured.
        case: Circumstances of the measurement.
        unit: Unit of the values. With `/s` larger is better, else smaller.
        n: Size.
        values: One value for each run.
        baseline: Case of the same runs with which `ratio` compares.
        ratio: Median relative to the baseline's, None without baseline.
        facts: Further facts for the reader (durability, store).
    """

    workload: str
    system: str
    case: str
    unit: str
    n: int
    values: tuple[float, ...]
    baseline: str | None = None
    ratio: float | None = None
    facts: Mapping[str, Any] = attrs.Factory(dict)

    @property
    def median(self) -> float:
        """Median of the runs."""
        return statistics.median(self.values)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Identity of the measurement: figures with equal keys are comparable."""
        return self.workload, self.system, self.case, self.n

    def line(self) -> dict[str, Any]:
        """Return the figure as a JSON object."""
        return {
            "workload": self.workload, "system": self.system, "case": self.case, "unit": self.unit, "n": self.n,
            "median": round(self.median, 3), "min": round(min(self.values), 3), "max": round(max(self.values), 3),
            "ratio": None if self.ratio is None else round(self.ratio, 4), "baseline": self.baseline,
            "python": platform.python_version(), "cores": os.cpu_count(), "versions": versions(), **self.facts,
        }  # fmt: skip


def measure(
    workload: str,
    unit: str,
    cases: Mapping[str, Callable[[], float]],
    *,
    n: int,
    runs: int,
    system: str = "replay",
    baseline: str | None = None,
    say: Say = lambda text: None,
    **facts: Any,
) -> list[Figure]:
    """Run the cases in turn (A B A B ...), *runs* times each, after one warm-up. A case returns its own value.

    A rest precedes each run, so that the run before it does not decide which core it gets.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(runs + 1):
        for name, case in cases.items():
            say(f"{workload}: {name}, {'warm-up' if number == 0 else f'run {number} of {runs}'}")
            time.sleep(REST if number else 0)
            value = case()
            if number:
                found[name].append(value)
    base = statistics.median(found[baseline]) if baseline is not None else None
    return [
        Figure(
            workload, system, name, unit, n, tuple(values), baseline,
            None if base is None else statistics.median(values) / base, facts,
        )
        for name, values in found.items()
    ]  # fmt: skip


def once(workload: str, case: str, unit: str, value: float, *, n: int, system: str = "replay", **facts: Any) -> Figure:
    """Return the figure of a single measurement (sizes, long runs)."""
    return Figure(workload, system, case, unit, n, (value,), facts=facts)


def rate(count: int, work: Callable[[], Any]) -> float:
    """Return the rate of *work*, which does *count* things, per second."""
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def table(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """Return rows for a table: workload, system, case, median, unit, range, ratio."""
    return [
        (
            f.workload, f.system, f.case, f"{f.median:,.1f}", f.unit, f"{min(f.values):,.1f} .. {max(f.values):,.1f}",
            "" if f.ratio is None else f"{f.ratio:.2f} x {f.baseline}",
        )
        for f in figures
    ]  # fmt: skip


def curves(figures: Iterable[Figure]) -> dict[str, list[tuple[float, float]]]:
    """Return (size, cost) points by workload and case, sizes ascending; rates become microseconds for each.

    A case that begins with a number ("1,000 members") has that size.
    """
    found: dict[str, dict[float, float]] = {}
    for f in figures:
        number, _, rest = f.case.partition(" ")
        plain = number.replace(",", "")
        size, case = (int(plain), rest) if plain.isdigit() else (f.n, f.case)
        cost, unit = (1e6 / f.median, "us each") if f.unit.endswith("/s") and f.median else (f.median, f.unit)
        found.setdefault(f"{f.workload}, {f.system}: {case} [{unit}]", {})[size] = cost
    return {label: sorted(points.items()) for label, points in found.items() if len(points) > 1}


def read(path: Path) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    """Return the lines of an earlier run by key.

    Raises:
        ValueError: A line is not one of `replay bench --json`.
    """
    found = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            found[line["workload"], line["system"], line["case"], line["n"]] = line
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}, line {number} is not a line of `replay bench --json`: {error}") from error
    return found


def versions() -> dict[str, str]:
    """Return the versions of the packages that influence speed."""
    found = {}
    for name in ("replay-engine", "attrs", "orjson", "redis", "hiredis", "pika"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
