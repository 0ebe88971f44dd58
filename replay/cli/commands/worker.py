"""`replay worker`: run a worker (the same as replay-worker)."""

from __future__ import annotations

import faulthandler
import logging
import signal
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from replay.cli import exit_codes, targets
from replay.cli.process.child import supervision
from replay.cli.process.health import Probes
from replay.cli.process.health_server import HealthServer
from replay.cli.process.logging import set_up_logging
from replay.cli.process.serve import serve
from replay.cli.process.signals import end_at_once
from replay.cli.process.supervisor import Supervisor, command_line
from replay.cli.values import parse_duration
from replay.engine import Engine, default_name
from replay.redaction import masked

log = logging.getLogger("replay.worker")

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
"""Sources of values that the user gave; the others are defaults."""


@click.command(
    "worker",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: replay-worker shop.workflows:all --store sqlite:///orders.db -c 8",
)
@click.argument("target", metavar="MODULE:OBJECT")
@click.option("--store", "-s", metavar="URL", help="sqlite:///FILE, redis://HOST, ...")
@click.option("--queue", metavar="URL", help="amqp://HOST: carries hints between processes.")
@click.option("--bus", metavar="URL", help="Default: the store's own.")
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
@click.option(
    "--health-host", default="", metavar="ADDRESS", help="Listen on this address; default: all, IPv4 and IPv6."
)
@click.option("--reload", is_flag=True, help="Start again when a Python file below this folder changes.")
@click.option("--concurrency", "-c", default=16, show_default=True, type=click.IntRange(1), help="Executions at once.")
@click.option("--name", "-n", help="Unique among workers; default: host-pid-random.")
@click.option(
    "--lease",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0.05),
    help="Seconds until a silent worker's work passes to others.",
)
@click.option("--poll-interval", type=click.FloatRange(0.001), help="Longest time between two claims, in seconds.")
@click.option(
    "--cache-size", default=1000, show_default=True, type=click.IntRange(0), help="Sleeping executions kept live."
)
@click.option("--payload-limit", default=1_048_576, show_default=True, type=click.IntRange(1), help="Bytes per value.")
@click.option("--log-limit", default=100_000, show_default=True, type=click.IntRange(1), help="Entries per execution.")
@click.option("--retention", metavar="DURATION", help="Keep ended executions for 90s, 15m, 2h, 30d; default: for ever.")
@click.option("--retention-count", type=click.IntRange(0), help="Number of ended executions to keep, the newest.")
@click.option("--argument-policy", default="warn", show_default=True, type=click.Choice(["warn", "error", "off"]))
@click.option(
    "--shutdown-timeout",
    default=30.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Seconds for running steps to end.",
)
@click.option("--burst", is_flag=True, help="Stop when no work is left.")
@click.option("--max-executions", type=click.IntRange(1), help="Stop after this many activations.")
@click.option(
    "--log-level", default="info", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
@click.option("--log-format", default="text", show_default=True, type=click.Choice(["text", "json"]))
def worker_command(target: str, store: str | None, **options: Any) -> int:
    """Run the workflows of MODULE:OBJECT: a workflow, a list of them, an Engine, or a function that returns one.

    The first SIGTERM, SIGINT or SIGHUP drains: running steps end, and leases are released. A second one stops at once. SIGQUIT
    dumps stacks.
    """
    end_at_once()
    set_up_logging(options.pop("log_level"), options.pop("log_format"))
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    burst, health_port, health_host = options.pop("burst"), options.pop("health_port"), options.pop("health_host")
    processes, reload = options.pop("processes"), options.pop("reload")
    supervisor = supervision()
    if supervisor is None and (
        processes > 1 or reload
    ):  # a supervised process supervises none, even if a file asks for it
        return supervise(processes, reload=reload, burst=burst, name=options["name"], health_port=health_port)
    probes = Probes()
    health = _listen(health_host, health_port, probes) if health_port is not None else None
    engine, where = _engine(target, store, options)
    try:
        return serve(engine, where, burst=burst, probes=probes, supervisor=supervisor)
    finally:
        if health is not None:
            health.close()


def _listen(host: str, port: int, probes: Probes) -> HealthServer:
    """Open the health port, before any work is claimed: the port may be taken."""
    try:
        health = HealthServer(port, probes.routes(), host)
    except OSError as error:
        place = f"--health-host {host} --health-port {port}" if host else f"--health-port {port}"
        exit_codes.fail(
            f"{place}: {error.strerror}. Fix: choose another port, or an address of this machine", exit_codes.USAGE
        )
    log.info("health on port %d: /livez /readyz /metrics", health.port)
    return health


def _engine(target: str, store: str | None, options: dict[str, Any]) -> tuple[Engine, str]:
    """Return the engine that *target* names, or one for its workflows, and the store's name for messages."""
    options["queues"] = _queues(options["queues"])
    if options["retention"] is not None:
        options["retention"] = parse_duration(options["retention"])
    max_executions = options.pop("max_executions")
    found = targets.load(target)
    if isinstance(found, Engine):
        engine, where = found, "the Engine's store"
        engine.adjust_worker(**_given(options))
    else:
        workflows = targets.workflows_of(found, target)
        if not store:
            raise click.UsageError("missing --store URL (or REPLAY_STORE). Fix: --store sqlite:///orders.db")
        if store.startswith("memory:"):
            raise click.UsageError(
                "memory:// lives within one process: this worker would never get work. Fix: --store sqlite:///orders.db"
            )
        engine, where = Engine(store, workflows=workflows, **options), masked(store)
    engine.adjust_worker(max_executions=max_executions)
    return engine, where


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that the user gave, for an Engine that brings its own.

    Store, queue, bus and namespace are the Engine's. A flag for one of them causes a warning; a variable may be there for other
    commands.
    """
    source = click.get_current_context().get_parameter_source
    places = ("store", "queue", "bus", "namespace")
    for name in places:
        if source(name) is ParameterSource.COMMANDLINE:
            log.warning("--%s has no effect: the Engine brings its own", name)
    return {name: value for name, value in options.items() if name not in places and source(name) in GIVEN}


def supervise(processes: int, *, reload: bool, burst: bool, name: str | None, health_port: int | None) -> int:
    """Run this command in *processes* processes, each with a name and a health port of its own."""
    # Only the command line: each process reads variables and files by itself.
    target, given = _given_again(click.get_current_context())
    commands = []
    for number in range(processes):
        own = ["--processes=1", f"--name={name or default_name()}-{number + 1}"]
        if health_port is not None:
            own.append(f"--health-port={health_port + number if health_port else 0}")
        commands.append(command_line([*given, *own, "--", target]))
    log.info("%d processes%s", processes, ", started again when code changes" if reload else "")
    return Supervisor(commands, replace=not burst, watch=Path.cwd() if reload else None).run()


_SUPERVISORS_OWN = ("processes", "name", "health_port", "reload", "traceback")


def _given_again(context: click.Context) -> tuple[str, list[str]]:
    """Return the target and the options of the command line, in their long forms, but those that are each process's own."""
    again: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        if not isinstance(parameter, click.Option) or name in _SUPERVISORS_OWN:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = next(flag for flag in parameter.opts if flag.startswith("--"))
            again.append(flag if parameter.is_flag else f"{flag}={context.params[name]}")
    return context.params["target"], again


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
