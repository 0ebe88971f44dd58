"""`replay-worker MODULE:OBJECT --store URL`: a process that runs workflows until it is told to stop."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import click

from replay.cli import shell
from replay.core.errors import StoreUnavailable
from replay.engine import Engine
from replay.urls import masked

log = logging.getLogger("replay.worker")


class JsonFormatter(logging.Formatter):
    """One JSON object per line, with the execution's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON."""
        found: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for field in ("execution_id", "workflow", "step", "attempt"):
            if hasattr(record, field):
                found[field] = getattr(record, field)
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, default=str)


def set_up_logging(level: str, format: str) -> None:
    """Log to the error channel."""
    handler = logging.StreamHandler()
    text = logging.Formatter(f"[%(asctime)s] [{os.getpid()}] [%(levelname)s] %(message)s")
    handler.setFormatter(JsonFormatter() if format == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler])


@click.command(
    "worker",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "REPLAY"},
    epilog="Example: replay-worker shop.workflows:all --store sqlite:///orders.db -c 8",
)
@click.argument("target", metavar="MODULE:OBJECT")
@click.option("--store", "-s", metavar="URL", envvar="REPLAY_STORE", help="sqlite:///FILE, redis://HOST, ...")
@click.option("--queue", metavar="URL", envvar="REPLAY_QUEUE", help="amqp://HOST: carries hints between processes.")
@click.option("--bus", metavar="URL", envvar="REPLAY_BUS", help="Default: the store's own.")
@click.option("--namespace", default="default", show_default=True)
@click.option(
    "--queues", "-Q", default="default", show_default=True, help="Execution queues to serve, comma-separated."
)
@click.option("--concurrency", "-c", default=16, show_default=True, type=click.IntRange(1), help="Executions at once.")
@click.option("--name", "-n", help="Unique among workers; default: host-pid-random.")
@click.option(
    "--lease",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.05),
    help="Seconds after which a silent worker's work passes on.",
)
@click.option("--poll-interval", type=click.FloatRange(0.001), help="Longest seconds between looks into the store.")
@click.option(
    "--cache-size", default=1000, show_default=True, type=click.IntRange(0), help="Sleeping executions kept live."
)
@click.option("--payload-limit", default=1_048_576, show_default=True, type=click.IntRange(1), help="Bytes per value.")
@click.option("--log-limit", default=100_000, show_default=True, type=click.IntRange(1), help="Entries per execution.")
@click.option("--argument-policy", default="warn", show_default=True, type=click.Choice(["warn", "error", "off"]))
@click.option(
    "--shutdown-timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds for running steps to end.",
)
@click.option("--burst", is_flag=True, help="Stop when there is nothing to do.")
@click.option("--max-executions", type=click.IntRange(1), help="Stop after that many visits.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
@click.option("--log-format", default="text", show_default=True, type=click.Choice(["text", "json"]))
def worker_command(target: str, store: str | None, **options: Any) -> int:
    """Run the workflows of MODULE:OBJECT (a list of them, one, an Engine, or a function giving one).

    The first SIGTERM or SIGINT drains (running steps end, leases are handed back), a second one stops cold; SIGQUIT dumps stacks.
    """
    set_up_logging(options.pop("log_level"), options.pop("log_format"))
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    found = shell.load(target)
    burst = options.pop("burst")
    if isinstance(found, Engine):
        engine = found
    else:
        if not store:
            raise click.UsageError("missing --store URL (or REPLAY_STORE). Fix: --store sqlite:///orders.db")
        workflows = shell.load_workflows(target)
        options["queues"] = [name.strip() for name in options["queues"].split(",") if name.strip()]
        max_executions = options.pop("max_executions")
        engine = Engine(store, workflows=workflows, **options)
        engine.limit_executions(max_executions)
    return serve(engine, masked(store or "the engine's store"), burst=burst)


def serve(engine: Engine, where: str, *, burst: bool) -> int:
    """Run *engine*'s worker until a signal, or until there is nothing to do; return the exit code."""
    stopping = threading.Event()
    signals = 0

    def on_signal(number: int, frame: object) -> None:
        nonlocal signals
        signals += 1
        if signals > 1:
            log.warning("stopping cold")
            os._exit(shell.FAILURE)
        log.info("%s: draining; again to stop cold", signal.Signals(number).name)
        stopping.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    try:
        engine.start_worker()
    except StoreUnavailable as error:
        shell.fail(str(error), shell.UNREACHABLE)
    runner = engine.runner
    assert runner is not None
    log.info(
        "worker %s serves %s on %s", runner.worker.options.name, ", ".join(w.key for w in engine.workflows()), where
    )
    while not stopping.wait(0.05 if burst else 0.2):
        if runner.failure is not None:
            log.error("the worker stopped: %s", runner.failure)
            return shell.FAILURE
        if (burst or runner.worker.exhausted) and runner.idle():
            break
    began = time.monotonic()
    clean = runner.stop(engine.shutdown_timeout)
    engine.close(timeout=0)
    log.info(
        "stopped after %.1f s%s", time.monotonic() - began, "" if clean else "; steps that did not end were given up"
    )
    return shell.OK if clean else shell.FAILURE


def main() -> NoReturn:
    """Run `replay-worker`."""
    shell.run(worker_command, "replay-worker")


if __name__ == "__main__":
    sys.exit(main())
