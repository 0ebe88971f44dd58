"""Serving: a worker process from its first claim until a signal, or until no work is left."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import NoReturn

from replay.cli import exit_codes
from replay.cli.process.child import Supervision
from replay.cli.process.health import Probes
from replay.cli.process.signals import SETTLING, Draining
from replay.core.errors import StoreUnavailable, describe_error
from replay.engine import Engine
from replay.worker.runner import Runner

log = logging.getLogger("replay.worker")

LEAVING = 5.0
"""Seconds beyond the shutdown timeout for releasing leases and closing connections. If they do not suffice, the store is
unreachable, and leases expire."""

HOPELESS = 60.0
"""Seconds for which workflow code may block the loop before the process ends itself. `/livez` fails after half of that, but not every
deployment reads it. A hanging execution must not block one worker after the other: lost leases make it a crash loop."""


def serve(
    engine: Engine,
    where: str,
    *,
    burst: bool,
    probes: Probes,
    supervisor: Supervision | None,
    hopeless_after: float = HOPELESS,
) -> int:
    """Run *engine*'s worker; return the exit code."""
    draining = Draining(_stop_cold, SETTLING if supervisor is not None else 0.0)
    try:
        engine.start_worker()
    except StoreUnavailable as error:
        exit_codes.fail(str(error), exit_codes.UNREACHABLE)
    runner = engine.runner
    assert runner is not None
    workflows = ", ".join(w.key for w in engine.workflows())
    log.info("worker %s serves %s on %s", runner.worker.options.name, workflows, where)
    probes.begin(engine, runner)
    if supervisor is not None:
        supervisor.ready(engine.shutdown_timeout + LEAVING)
    while runner.failure is None and not _done(runner, draining, supervisor, burst=burst):
        if runner.busy > hopeless_after:
            log.critical(
                "workflow code has kept the loop for %.0f s (see above where): ending the process", runner.busy
            )
            os._exit(exit_codes.FAILURE)
        time.sleep(0.05)
    if runner.failure is not None:
        log.error("the worker stopped: %s", describe_error(runner.failure))
        return exit_codes.FAILURE
    return _leave(engine, runner)


def _done(runner: Runner, draining: Draining, supervisor: Supervision | None, *, burst: bool) -> bool:
    if draining.asked is not None:
        log.info("%s: draining; again to stop cold", draining.asked.name)
        return True
    if supervisor is not None and supervisor.gone:
        log.warning("the supervisor is gone: draining")
        return True
    return (burst and runner.idle()) or (runner.worker.exhausted and not runner.worker.active)


def _leave(engine: Engine, runner: Runner) -> int:
    began = time.monotonic()
    bound = threading.Timer(engine.shutdown_timeout + LEAVING, _give_up)
    bound.daemon = True
    bound.start()
    clean = runner.stop(engine.shutdown_timeout)
    engine.close(timeout=0)
    bound.cancel()
    given_up = "" if clean else "; steps that did not end were given up"
    log.info("stopped after %.1f s%s", time.monotonic() - began, given_up)
    return exit_codes.OK if clean else exit_codes.FAILURE


def _stop_cold() -> NoReturn:
    log.warning("stopping cold")
    os._exit(exit_codes.FAILURE)


def _give_up() -> NoReturn:
    log.warning("the store did not take the leases back in time; they will run out by themselves")
    os._exit(exit_codes.FAILURE)
