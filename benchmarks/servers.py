"""Full `replay bench` on private servers: memory, SQLite, Redis, Redis with RabbitMQ. Prints JSON lines.

python -m benchmarks.servers [--runs 3] [--quick] > figures.jsonl
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator

from replay.bench.harness import Figure
from replay.bench.parameters import Parameters
from replay.bench.workloads import WORKLOADS
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

LIVE = ("steps", "executions", "latency", "fanout", "suspended", "waking", "schedules")

QUICK = {"suspended": 2_000, "schedules": 1_000, "fanout": 200, "waking": 10_000}
"""Sizes of `--quick`."""


def figures(runs: int, *, quick: bool) -> Iterator[Figure]:
    """Measure each workload on each store."""

    def say(text: str) -> None:
        print(f"\r\x1b[K{text[:78]}", end="", file=sys.stderr)

    yield from WORKLOADS["replay"].run(Parameters("memory://", runs=runs, say=say))
    with (
        tempfile.TemporaryDirectory() as folder,
        RedisServer(appendfsync="everysec") as redis,
        RabbitServer() as rabbit,
    ):
        stores = [
            ("memory://", None),
            (f"sqlite:///{folder}/bench.db", None),
            (redis.url, None),
            (redis.url, rabbit.url),
        ]
        for store, queue in stores:
            for name in LIVE[:3] if queue else LIVE:
                size = QUICK if quick else {}
                yield from WORKLOADS[name].run(Parameters(store, queue, n=size.get(name), runs=runs, say=say))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    for figure in figures(options.runs, quick=options.quick):
        print(json.dumps(figure.line()), flush=True)


if __name__ == "__main__":
    main()
