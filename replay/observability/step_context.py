"""Preparation of the context in which a step's body runs, such as its span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from replay.core.effects import Call
from replay.core.interrupts import ends_the_process
from replay.logs import get_logger

log = get_logger("replay.worker")

Preparation = Callable[[Call], Any]

_preparations: list[Preparation] = []


def prepare_steps(preparation: Preparation) -> None:
    """Call *preparation* before each body of this process, within the body's own copy of the context variables."""
    if preparation not in _preparations:
        _preparations.append(preparation)


def prepare(call: Call) -> None:
    """Prepare the context of a body. An exception is logged, and the body runs all the same."""
    for preparation in _preparations:
        try:
            preparation(call)
        except BaseException as error:
            if ends_the_process(error):
                raise
            log.exception("%r raised; the step runs", preparation, extra={"execution_id": call.execution_id})
