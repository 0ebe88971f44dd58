"""`replay demo`: see a durable workflow survive a crash."""

from __future__ import annotations

import collections
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from importlib.resources import as_file, files
from pathlib import Path
from urllib.parse import quote

import click

from replay.cli import timeline
from replay.cli.output import emit_json
from replay.cli.text import safe
from replay.client.handles import Handle
from replay.client.records import Detail, Status
from replay.demo import orders as shop
from replay.engine import Engine

PATIENCE = 300.0
"""Seconds without progress until the demo gives up."""

ORDERS_PER_SLOT = 20
"""Orders per execution slot of a worker (2 to 32 slots), so that thousands of orders take minutes, not hours."""


@click.command("demo", epilog="Example: replay demo my-orders.csv --keep orders.db")
@click.argument("csv_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--keep", type=click.Path(dir_okay=False, path_type=Path), help="Keep the SQLite file there (must not exist)."
)
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object for each order; messages go to the error channel."
)
def demo_command(csv_file: Path | None, keep: Path | None, as_json: bool) -> None:
    """See a durable workflow survive a crash.

    The demo reads orders and starts an approval workflow for each. It kills the worker process with SIGKILL half-way and starts
    another. Then it delivers the approvals and prints the timelines. CSV_FILE has the columns id,item,quantity,price,approver;
    without it the demo brings its own orders.
    """
    orders = _read_orders(csv_file)
    if keep is not None and keep.exists():
        raise click.UsageError(f"{keep} exists. Fix: choose another file, or remove it")
    if keep is not None and not keep.absolute().parent.is_dir():
        raise click.UsageError(f"there is no folder {keep.absolute().parent}. Fix: make it, or choose another")
    with tempfile.TemporaryDirectory(prefix="replay-demo-") as folder:
        Demo(Path(folder), keep or Path(folder) / "orders.db", as_json=as_json).run(orders)
    if keep is not None:
        id, app = orders[0].id, f"{shop.__name__}:{shop.approve_order.fn.__name__}"
        url = shlex.quote(f"sqlite:///{quote(str(keep))}")
        click.echo(f"look at one: replay show {id} --store {url} --app {app}", err=as_json)


def _read_orders(csv_file: Path | None) -> list[shop.Order]:
    try:
        if csv_file is not None:
            return shop.read_orders(csv_file)
        with as_file(files("replay.demo") / "orders.csv") as path:
            return shop.read_orders(path)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error


class Demo:
    """One run of the demo."""

    def __init__(self, folder: Path, database: Path, *, as_json: bool) -> None:
        self.ledger = folder / "ledger.tsv"
        self.url = f"sqlite:///{quote(str(database.absolute()))}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.slots = 2
        self.killed_at = 0.0
        self.as_json = as_json

    def say(self, text: str) -> None:
        """Print a message."""
        click.echo(text, err=self.as_json)

    def run(self, orders: list[shop.Order]) -> None:
        """Run the demo with *orders*."""
        self.say(f"store   {self.url}")
        try:
            with Engine(self.url, workflows=[shop.approve_order]) as engine:
                handles = {o: engine.start(shop.approve_order, o, id=o.id, metadata={"item": o.item}) for o in orders}
                self.say(f"started {len(handles)} executions of {shop.approve_order.key!r}")
                self.slots = max(2, min(32, len(handles) // ORDERS_PER_SLOT))
                self.start_worker()
                self.kill_half_way(engine, list(handles.values()))
                self.start_worker()
                self.approve(engine, handles)
                self.show(engine, list(handles.values()))
        finally:
            for worker in self.workers:
                if worker.poll() is None:
                    worker.terminate()
                    worker.wait(10)

    def start_worker(self) -> None:
        """Start a worker process."""
        command = [sys.executable, "-m", "replay.cli.worker", "replay.demo.orders:approve_order", "--store", self.url]
        # A short lease, so that the second worker takes over after a second; few at a time, so that there is a half-way.
        command += ["--lease", "1", "-c", str(self.slots), "--log-level", "warning"]
        command += ["--name", f"worker-{len(self.workers) + 1}"]
        environment = {**os.environ, "REPLAY_DEMO_LEDGER": str(self.ledger)}
        self.workers.append(subprocess.Popen(command, env=environment))
        self.say(f"worker-{len(self.workers)} is process {self.workers[-1].pid}")

    def kill_half_way(self, engine: Engine, handles: list[Handle[shop.Outcome]]) -> None:
        """Kill the worker while steps are recorded, and at least one is running."""
        wanted = max(1, len(handles))
        done, since = 0, time.monotonic()
        while done < wanted:
            found = sum(len(engine.detail(handle).steps) for handle in handles)
            if found > done:
                done, since = found, time.monotonic()
            elif time.monotonic() > since + PATIENCE or self.workers[0].poll() is not None:
                raise click.ClickException("the first worker did not get to work")
            time.sleep(0.01)
        time.sleep(0.07)  # into the next bodies, which take 0.15 s
        os.kill(self.workers[0].pid, signal.SIGKILL)
        self.workers[0].wait()
        self.killed_at = time.time()
        done = sum(len(engine.detail(handle).steps) for handle in handles)
        self.say(f"worker-1 killed with SIGKILL, {done} steps recorded, some under way")

    def approve(self, engine: Engine, handles: dict[shop.Order, Handle[shop.Outcome]]) -> None:
        """Deliver each approval as soon as its order waits for it, then wait for all results."""
        waiting = {order: handle for order, handle in handles.items() if order.approver}
        since = time.monotonic()
        while waiting and time.monotonic() < since + PATIENCE:
            for order, handle in list(waiting.items()):
                execution = engine.get_execution(handle)
                if any(wait.get("signal") == shop.Approved.id for wait in execution.current) or execution.status.ended:
                    if not execution.status.ended:
                        engine.signal(handle, shop.Approved, shop.Approval(order.approver), dedupe_id="approval")
                        self.say(f"{order.id}: approved by {order.approver}")
                    del waiting[order]
                    since = time.monotonic()
            time.sleep(0.02)
        for handle in handles.values():
            handle.result(PATIENCE)

    def show(self, engine: Engine, handles: list[Handle[shop.Outcome]]) -> None:
        """Print the timelines, and the counts of the ledger of effects."""
        for handle in handles:
            self.show_one(engine.detail(handle))
        effects = collections.Counter(line.split("\t")[0] for line in self.ledger.read_text().splitlines())
        recorded = sum(step.status == "completed" for handle in handles for step in engine.detail(handle).steps)
        again = sum(count - 1 for count in effects.values())
        self.say(f"\n{recorded} steps recorded, {sum(effects.values())} bodies run, {len(effects)} distinct tokens.")
        self.say(
            f"{again} bod{'y was' if again == 1 else 'ies were'} under way when the worker died and ran again with the same token; "
            f"no recorded step ran again."
        )
        statuses = collections.Counter(str(engine.get_execution(handle).status) for handle in handles)
        self.say("all ended: " + ", ".join(f"{count} {status}" for status, count in statuses.items()))
        if set(statuses) != {Status.COMPLETED}:
            raise click.ClickException("not all executions completed")

    def show_one(self, detail: Detail) -> None:
        """Print one timeline. The second worker replayed the entries from before the kill."""
        execution = detail.execution
        if self.as_json:
            audit = [timeline.entry_json(entry) for entry in detail.audit]
            emit_json({"execution": execution, "audit": audit, "killed_at": self.killed_at})
            return
        self.say(f"\n{execution.id}  {safe(execution.input.item)}: {execution.result.status}")
        replayed = [entry for entry in detail.audit if entry.at <= self.killed_at]
        lines = timeline.lines(detail)
        self.say(f"           {lines[0]}")
        for line in lines[1 : len(replayed) + 1]:
            self.say(f"  worker-1 {line}")
        self.say(f"           {'-' * 9}   worker-1 killed; worker-2 replays {len(replayed)} entries, running no step")
        for line in lines[len(replayed) + 1 :]:
            self.say(f"  worker-2 {line}")
