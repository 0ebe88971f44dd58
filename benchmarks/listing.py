"""Benchmark of lists and counts: a page with each filter, and counts by status, in milliseconds.

python -m benchmarks.listing [--sqlite 200000] [--redis 1000000]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from replay.backends.redis import open_store as open_redis
from replay.backends.sqlite import SqliteStore
from replay.bench.harness import Figure
from replay.core import requests as r
from tests.servers.redis import RedisServer

BATCH = 2000


def fill(store: Any, count: int) -> None:
    """Create *count* executions of ten workflows, two teams and a thousand customers."""
    for start in range(0, count, BATCH):
        store.apply(
            [
                r.Create(
                    f"x{n}",
                    f"w{n % 10}",
                    b"null",
                    metadata=b'{"team":"%b","customer":%d}' % ((b"red", b"blue")[n % 2], n % 1000),
                )
                for n in range(start, min(count, start + BATCH))
            ]
        )


def milliseconds(work: Callable[[], Any], times: int = 30) -> tuple[float, ...]:
    """Return the durations of *work*, milliseconds."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append((time.perf_counter() - began) * 1000)
    return tuple(found)


def measure(system: str, store: Any, count: int) -> None:
    """Print the figures of one store."""
    fill(store, count)
    now, oldest = (store.apply([r.Get(id)])[0].created_at for id in (f"x{count - 1}", "x0"))
    middle = (now + oldest) / 2
    time.sleep(1.1)  # until the next second, in which a few change
    store.apply([r.Deliver(f"x{n}", "stop", "cancel", "", b"null") for n in range(0, count, count // 20)])
    queries = {
        "page, no filter": r.Find(limit=50),
        "page by status": r.Find(statuses=("pending",), limit=50),
        "page by workflow": r.Find(workflow="w3", limit=50),
        "page by status and workflow": r.Find(statuses=("pending",), workflow="w3", limit=50),
        "page by metadata, many have it": r.Find(metadata=(("team", b'"red"'),), limit=50),
        "page by metadata, few have it": r.Find(metadata=(("customer", b"17"),), limit=50),
        "page by metadata, none has it": r.Find(metadata=(("customer", b'"17"'),), limit=50),
        "page by two of metadata": r.Find(metadata=(("team", b'"blue"'), ("customer", b"17")), limit=50),
        "page by metadata and workflow": r.Find(metadata=(("team", b'"blue"'),), workflow="w3", limit=50),
        "page by metadata and rare status": r.Find(metadata=(("team", b'"red"'),), statuses=("failed",), limit=50),
        "page by id prefix, all have it": r.Find(id_prefix="x", limit=50),
        "page by id prefix, few have it": r.Find(id_prefix="x1234", limit=50),
        "page by id prefix, none has it": r.Find(id_prefix="y", limit=50),
        "page by id prefix and workflow": r.Find(id_prefix="x1234", workflow="w5", limit=50),
        "page by parent, none has it": r.Find(parent_id="x1", limit=50),
        "page by creation, half are older": r.Find(created_before=middle, limit=50),
        "page by creation, none is newer": r.Find(created_after=now + 3600.0, limit=50),
        "page by last change, half are older": r.Find(updated_before=middle, limit=50),
        "page by last change, few are newer": r.Find(updated_after=now, limit=50),
        "page by last change, none is newer": r.Find(updated_after=now + 3600.0, limit=50),
        "page by last change and workflow": r.Find(updated_after=now, workflow="w3", limit=50),
        "page by what is overdue, none is": r.Find(due_before=1.0, limit=50),
        "counts": r.Count(),
        "counts of a workflow": r.Count("w3"),
    }
    for case, query in queries.items():
        values = milliseconds(lambda query=query: store.apply([query]))
        print(json.dumps(Figure("listing", system, case, "ms", count, values).line()), flush=True)
        print(f"{system:<8} {count:>9,} {case:<30} {statistics.median(values):8.2f} ms", flush=True)


def main() -> None:
    """Print the figures of each store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sqlite", type=int, default=200_000)
    parser.add_argument("--redis", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure("sqlite", SqliteStore(f"{folder}/x.db", synchronous="NORMAL"), options.sqlite)
    with RedisServer(appendfsync="everysec") as server:
        measure("redis", open_redis(server.url, namespace="listing"), options.redis)


if __name__ == "__main__":
    main()
