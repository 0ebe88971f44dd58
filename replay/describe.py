"""The shape of a workflow, found by driving its generator over all outcomes: nothing is executed.

Steps give stand-ins for their unknown results, and fail; waits give a value, and time out; a switch takes each branch; a decision
on an unknown value goes both ways. What was not seen is said in `unexplored`.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Any

import attrs

from replay.core import commands as c
from replay.core.context import Context
from replay.core.driver import close_generator, run_branch
from replay.core.errors import Cancelled, ExecutionFailed, StepFailed
from replay.core.fibers import Fiber
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner
from replay.core.requests import Header
from replay.definition import Workflow
from replay.determinism import make_context

MAX_PATHS = 400
"""Paths through a workflow that are followed before the rest is declared unexplored."""

MAX_COMMANDS = 150
"""Commands on one path: a loop on an unknown value goes on no longer."""


@attrs.frozen
class Node:
    """A command of a workflow. Durations are seconds."""

    kind: str
    id: str
    at: str = ""
    signal: str | None = None
    timeout: float | None = None
    duration: float | None = None
    branches: tuple[str, ...] = ()
    has_compensation: bool = False
    workflow: str | None = None
    members: tuple[str, ...] = ()


@attrs.frozen
class Edge:
    """`target` may follow `source`, after `label` (an outcome; empty: its normal result)."""

    source: str
    target: str
    label: str = ""


@attrs.frozen
class Description:
    """A workflow's shape: `nodes` in the order in which they were first seen, `edges`, and what was not explored."""

    workflow: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    unexplored: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return attrs.asdict(self)

    def mermaid(self) -> str:
        """Return it as a Mermaid flowchart."""
        names = {"(start)": "start", "(end)": "finish", "(failed)": "failed"}
        lines = ["flowchart TD", "    start([start])", "    finish([end])"]
        if any(edge.target == "(failed)" for edge in self.edges):
            lines.append("    failed([failed])")
        for number, node in enumerate(self.nodes):
            names[node.id] = f"n{number}"
            lines.append(f"    n{number}{_shape(node)}")
        for edge in self.edges:
            arrow = f"-->|{_text(edge.label)}|" if edge.label else "-->"
            lines.append(f"    {names[edge.source]} {arrow} {names[edge.target]}")
        return "\n".join(lines) + "\n"


def _shape(node: Node) -> str:
    label = _text(f"{node.kind}: {node.id}" + (" (undo)" if node.has_compensation else ""))
    match node.kind:
        case "switch":
            return f'{{"{label}"}}'
        case "signal" | "execution":
            return f'[/"{label}"/]'
        case "sleep":
            return f'(["{label}"])'
        case _:
            return f'["{label}"]'


def _text(text: str) -> str:
    return re.sub(r'["|<>{}\[\]]', "'", text)


class _Unsure(BaseException):
    """A path cannot be followed further."""


class Explorer:
    """Follows one path after another; each is a list of choices, and each new choice point adds the ways not taken."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str, str], None] = {}
        self.unexplored: dict[str, None] = {}
        self._todo: list[list[int]] = [[]]
        self._path: list[int] = []
        self._taken = 0
        self._commands = 0
        self._last = "(start)"
        self._label = ""

    def explore(self, workflow: Workflow[Any, Any], input: Any) -> Description:
        """Follow all paths of *workflow*."""
        paths = 0
        while self._todo:
            if paths == MAX_PATHS:
                self.unexplored[f"{len(self._todo)} further paths (only {MAX_PATHS} are followed)"] = None
                break
            paths += 1
            self._path, self._taken, self._commands = self._todo.pop(0), 0, 0
            self._last, self._label = "(start)", ""
            self._follow(workflow, input)
        return Description(
            workflow.key, tuple(self.nodes.values()), tuple(Edge(*e) for e in self.edges), tuple(self.unexplored)
        )

    def _follow(self, workflow: Workflow[Any, Any], input: Any) -> None:
        header = Header("describe", workflow.key, workflow.version, "", "", b"", 0.0, 0.0)
        context = make_context(header, lambda change: bool(self.choose(2, "patched")))
        gen = None
        try:
            gen = workflow.generator(
                context, Unknown(self, "input") if input is None and workflow.takes_input else input
            )
            self._drive(gen, context, "")
            self._arrive("(end)")
        except (StepFailed, ExecutionFailed):
            self._arrive("(failed)")
        except _Unsure as unsure:
            self.unexplored[str(unsure)] = None
        except Exception as error:
            self.unexplored[
                f"after {self._last}: {type(error).__name__}: {str(error)[:120]} (a value is unknown here)"
            ] = None
        finally:
            if gen is not None:
                close_generator(gen)

    def choose(self, ways: int, what: str) -> int:
        """Return which of *ways* this path takes; the others are followed later."""
        if self._taken < len(self._path):
            way = self._path[self._taken]
        else:
            way = 0
            self._todo += [[*self._path[: self._taken], other] for other in range(1, ways)]
            self._path = [*self._path[: self._taken], 0]
        self._taken += 1
        if self._taken > MAX_COMMANDS:
            raise _Unsure(f"a loop after {self._last} that depends on {what}")
        return way

    def _drive(self, gen: Generator[Any, Any, Any], ctx: Context, prefix: str) -> Any:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                command = gen.send(value) if error is None else gen.throw(error)
            except StopIteration as stop:
                return stop.value
            ctx._last, ctx._lost = None, []
            self._commands += 1
            if self._commands > MAX_COMMANDS:
                raise _Unsure(f"a loop that goes on after {self._last}")
            at = Fiber(0, "", None, 0, gen).where()
            value, error = None, None
            try:
                value = self._outcome(command, ctx, prefix, at)
            except (StepFailed, ExecutionFailed, Cancelled) as failure:
                error = failure

    def _arrive(self, id: str) -> None:
        self.edges[self._last, id, self._label] = None
        self._last, self._label = id, ""

    def _see(self, node: Node) -> None:
        self.nodes.setdefault(node.id, node)
        self._arrive(node.id)

    def _outcome(self, command: Any, ctx: Context, prefix: str, at: str) -> Any:
        """Show the node of *command*, and return (or raise) one of its outcomes."""
        id = prefix + getattr(command, "id", "")
        match command:
            case c.Step():
                self._see(
                    Node(
                        "step",
                        id,
                        at,
                        timeout=command.options.timeout,
                        has_compensation=command.options.down is not None,
                    )
                )
                failed = self._fails()
                if command.options.settled:
                    return Err(StepFailed(id)) if failed else Ok(Unknown(self, id))
                if failed:
                    raise StepFailed(id)
                return Unknown(self, id)
            case c.Sleep():
                self._see(Node("sleep", id, at, duration=command.seconds))
                return None
            case c.WaitForSignal():
                self._see(Node("signal", id, at, signal=command.signal, timeout=command.timeout))
                if command.timeout is None:
                    return Unknown(self, id)
                return TimedOut() if self._alternative("timeout") else Received(Unknown(self, id))
            case c.WaitForExecution():
                self._see(Node("execution", id, at, timeout=command.timeout))
                if command.timeout is not None and self._alternative("timeout"):
                    return TimedOut()
                if self._fails():
                    raise ExecutionFailed(id)
                return Completed(Unknown(self, id)) if command.timeout is not None else Unknown(self, id)
            case c.Start():
                self._see(Node("child" if command.wait else "start", id, at, workflow=command.workflow.key))
                if command.wait and self._fails():
                    raise ExecutionFailed(id)
                return Unknown(self, id)
            case c.Switch():
                return self._switch(command, ctx, prefix, id, at)
            case c.All():
                return self._all(command, ctx, prefix, id, at)
            case c.Race():
                return self._race(command, ctx, prefix, id, at)
            case c.Rollback():
                self._see(Node("rollback", id, at))
                return c.RollbackReport()
            case c.Emit() | c.Note():
                self._see(Node(type(command).__name__.lower(), id, at))
                return None
            case _:
                raise _Unsure(f"after {self._last}: {type(command).__name__} is yielded, which is not a command")

    def _fails(self) -> bool:
        return self._alternative("failure")

    def _alternative(self, label: str) -> bool:
        taken = bool(self.choose(2, label))
        self._label = label if taken else ""
        return taken

    def _switch(self, command: c.Switch[Any], ctx: Context, prefix: str, id: str, at: str) -> Any:
        branches = [*command.branches, *([command.default] if command.default is not None else [])]
        self._see(Node("switch", id, at, branches=tuple(branch.id for branch in branches)))
        branch = branches[self.choose(len(branches), "the switch")]
        self._label = branch.id
        return self._member(run_branch(branch.run, command.value), ctx, f"{prefix}{branch.id}/", at)

    def _member(self, member: Any, ctx: Context, prefix: str, at: str) -> Any:
        if isinstance(member, Generator):
            return self._drive(member, ctx, prefix)
        if isinstance(member, c.Command):
            return self._outcome(member, ctx, prefix, at)
        return member

    def _all(self, command: c.All[Any], ctx: Context, prefix: str, id: str, at: str) -> Any:
        self._see(Node("all", id, at, members=command.names))
        results = [
            self._member(member, ctx, f"{prefix}{name}/", at)
            for member, name in zip(command.members, command.names, strict=True)
        ]
        match command.shape:
            case "list":
                return results
            case "dict":
                return dict(zip(command.keys, results, strict=True))
            case _:
                return tuple(results)

    def _race(self, command: c.Race[Any], ctx: Context, prefix: str, id: str, at: str) -> Any:
        self._see(Node("race", id, at, members=command.names))
        winner = self.choose(len(command.members), "the race")
        for number, member in enumerate(command.members):
            if number != winner and isinstance(member, Generator):
                member.close()
        name = command.names[winner]
        self._label = name
        return Winner(name, self._member(command.members[winner], ctx, f"{prefix}{name}/", at))


class Unknown:
    """A stand-in for a value that only a real run would have. Decisions on it go both ways."""

    _explorer: Explorer
    _name: str

    def __init__(self, explorer: Explorer, name: str) -> None:
        self._explorer = explorer
        self._name = name

    def _derived(self, *args: Any, **kwargs: Any) -> Unknown:
        return Unknown(self._explorer, self._name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Unknown(self._explorer, f"{self._name}.{name}")

    def _decided(self, *args: Any) -> bool:
        return not self._explorer.choose(2, self._name)

    __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _decided
    __call__ = __getitem__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = _derived
    __rtruediv__ = __floordiv__ = __mod__ = __neg__ = __abs__ = __pow__ = __and__ = __or__ = _derived

    def __eq__(self, other: object) -> bool:
        return self is other or self._decided()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Unknown]:
        return iter([self._derived()])

    def __len__(self) -> int:
        return 1

    def __int__(self) -> int:
        return 1

    __index__ = __int__

    def __float__(self) -> float:
        return 1.0

    def __str__(self) -> str:
        return f"<{self._name}>"

    __repr__ = __str__


def describe(workflow: Workflow[Any, Any], input: Any = None) -> Description:
    """Return the shape of *workflow*; nothing is executed. *input* makes values known that depend on it."""
    return Explorer().explore(workflow, input)
