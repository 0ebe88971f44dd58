"""Where an execution is: what it runs or waits for, since when, until when, at which line."""

from __future__ import annotations

from typing import Any

from replay.core import commands as c
from replay.core.fibers import Fiber
from replay.core.interpreter import Interpreter

MOST = 20
"""Waits that are told: a fan-out of thousands must not fill the record."""


def current(interpreter: Interpreter) -> list[dict[str, Any]]:
    """Describe what the execution's fibers are blocked on, as plain data."""
    return [_describe(fiber) for fiber in interpreter.waits()[:MOST]]


def _describe(fiber: Fiber) -> dict[str, Any]:
    command = fiber.command
    found: dict[str, Any] = {"kind": type(command).__name__, "id": fiber.id, "fiber": fiber.number, "at": fiber.where()}
    match command:
        case c.Step():
            found |= {"kind": "step", "attempt": fiber.tries + 1}
            if fiber.retry_at is not None:
                found["due"] = fiber.retry_at
        case c.Sleep():
            found |= {"kind": "sleep", "due": fiber.due}
        case c.WaitForSignal():
            found |= {"kind": "signal", "signal": command.signal, "due": fiber.due}
        case c.WaitForExecution():
            found |= {"kind": "execution", "execution_id": command.execution_id, "due": fiber.due}
        case c.Start():
            found |= {"kind": "execution", "execution_id": fiber.child}
        case _:
            pass
    return found
