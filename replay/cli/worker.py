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
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from replay.cli import shell
from replay.cli.health import Answer, HealthServer
from replay.cli.supervisor import Supervisor, command_line, orphaned
from replay.core.errors import StoreUnavailable
from replay.engine import Engine, default_name
from replay.metrics import exposition
from replay.observing import StepFields
from replay.runner import Runner
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
    handler.addFilter(StepFields())
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
    "--queues",
    "-Q",
    default="default",
    show_default=True,
    metavar="NAME[=N],...",
    help="Execution queues to serve; =N: at most N of that queue at once.",
)
@click.option("--processes", "-p", default=1, show_default=True, type=click.IntRange(1), help="Worker processes.")
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    help="Serve /livez, /readyz, /metrics; with -p, from this port on.",
)
@click.option("--reload", "reload_", is_flag=True, help="Start again when a Python file below this folder changes.")
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
@click.option("--retention", metavar="DURATION", help="Keep ended executions for 90s, 15m, 2h, 30d; default: for ever.")
@click.option("--retention-count", type=click.IntRange(0), help="Keep so many ended executions, the newest.")
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
    burst, health_port = options.pop("burst"), options.pop("health_port")
    processes, reload_ = options.pop("processes"), options.pop("reload_")
    if processes > 1 or reload_:
        return supervise(processes, reload=reload_, burst=burst, name=options["name"], health_port=health_port)
    found = shell.load(target)
    options["queues"] = _queues(options["queues"])
    if options["retention"] is not None:
        options["retention"] = shell.parse_duration(options["retention"])
    max_executions = options.pop("max_executions")
    if isinstance(found, Engine):
        engine, where = found, "the Engine's store"
        engine.adjust_worker(**_given(options))
    else:
        if not store:
            raise click.UsageError("missing --store URL (or REPLAY_STORE). Fix: --store sqlite:///orders.db")
        engine, where = Engine(store, workflows=shell.load_workflows(target), **options), masked(store)
    engine.adjust_worker(max_executions=max_executions)
    return serve(engine, where, burst=burst, health_port=health_port)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given for an Engine that brings its own; where it lives is not for flags to say."""
    source = click.get_current_context().get_parameter_source
    given = {name for name in ("store", *options) if source(name) is ParameterSource.COMMANDLINE}
    for name in sorted(given & {"store", "queue", "bus", "namespace"}):
        log.warning("--%s has no effect: the Engine brings its own", name)
    return {name: options[name] for name in given - {"store", "queue", "bus", "namespace"}}


def supervise(processes: int, *, reload: bool, burst: bool, name: str | None, health_port: int | None) -> int:
    """Run this very command in *processes* processes, each with a name and a health port of its own."""
    # Not what click parsed: what it got from the environment and from files, the processes get from there, too.
    given = _without(sys.argv[1:] if "worker" not in sys.argv[1:2] else sys.argv[2:])
    commands = []
    for number in range(processes):
        own = ["--name", f"{name or default_name()}-{number + 1}"]
        if health_port is not None:
            own += ["--health-port", str(health_port + number if health_port else 0)]
        commands.append(command_line([*given, "--processes", "1", *own]))
    log.info("%d processes%s", processes, ", started again when code changes" if reload else "")
    return Supervisor(commands, replace=not burst, watch=Path.cwd() if reload else None).run()


def _without(arguments: list[str]) -> list[str]:
    """Return *arguments* without the options that are the supervisor's."""
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in ("-p", "--processes", "-n", "--name", "--health-port"):
            skip = True
        elif argument != "--reload" and not argument.startswith(
            ("--processes=", "--name=", "--health-port=", "-p", "-n")
        ):
            kept.append(argument)
    return kept


def _queues(text: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, given, limit = part.partition("=")
        if given and not limit.isdecimal():
            raise click.UsageError(f"-Q takes NAME or NAME=N, not {part!r}. Fix: -Q emails=2,default")
        found[name] = int(limit) if given else None
    if not found:
        raise click.UsageError("-Q names no queue. Fix: -Q default")
    return found


def serve(engine: Engine, where: str, *, burst: bool, health_port: int | None = None) -> int:
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
    health = _health(runner, health_port) if health_port is not None else None
    while not stopping.wait(0.05 if burst else 0.2):
        if runner.failure is not None:
            log.error("the worker stopped: %s", runner.failure)
            return shell.FAILURE
        if orphaned():
            log.warning("the supervisor is gone: draining")
            break
        if (burst and runner.idle()) or (runner.worker.exhausted and not runner.worker.active):
            break
    began = time.monotonic()
    clean = runner.stop(engine.shutdown_timeout)
    engine.close(timeout=0)
    if health is not None:
        health.close()
    log.info(
        "stopped after %.1f s%s", time.monotonic() - began, "" if clean else "; steps that did not end were given up"
    )
    return shell.OK if clean else shell.FAILURE


def _health(runner: Runner, port: int) -> HealthServer:
    worker = runner.worker

    def live() -> Answer:
        return (200, "ok\n") if runner.failure is None else (503, f"the worker stopped: {runner.failure}\n")

    def ready() -> Answer:
        if runner.failure is not None or not worker.gauges().ready:
            return 503, "the store cannot be reached\n" if worker.unreachable else "it takes no more work\n"
        return 200, "ok\n"

    def metrics() -> Answer:
        return 200, exposition(worker.metrics, worker.gauges())

    try:
        server = HealthServer(port, {"/livez": live, "/readyz": ready, "/metrics": metrics})
    except OSError as error:
        shell.fail(f"--health-port {port}: {error.strerror}. Fix: choose another port", shell.USAGE)
    log.info("health on port %d: /livez /readyz /metrics", server.port)
    return server


def main() -> NoReturn:
    """Run `replay-worker`."""
    shell.run(worker_command, "replay-worker")


if __name__ == "__main__":
    sys.exit(main())
