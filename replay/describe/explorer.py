"""Explorer: drives a workflow's generator along one path after another, and records the commands and their order.

A step returns a stand-in on one path and fails on another; a wait returns a value, or times out. A switch takes each branch,
and a decision on a stand-in goes both ways. Every `yield` that no path reached is reported by its line.
"""

from __future__ import annotations

import contextvars
import copy
import re
from collections import Counter
from collections.abc import Generator, Hashable
from types import CodeType, FrameType
from typing import Any, TypeAlias

from replay.core import commands as c
from replay.core.context import Context
from replay.core.errors import Cancelled, ExecutionCancelled, ExecutionFailed, NoBranchMatched, StepFailed
from replay.core.generators import close_generator, run_branch
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner
from replay.core.requests import Header
from replay.definition import Workflow
from replay.describe import source
from replay.describe.coverage import Coverage
from replay.describe.paths import PathLimit, Paths, Spot
from replay.describe.shape import CANCELLED, END, FAILED, START, Description, Edge, Node
from replay.describe.standin import HEALING, stand_in
from replay.worker.sources import make_context

Site: TypeAlias = tuple[Any, ...]
"""Identity of a node: the command's id, and the places of all suspended generators."""


class Explorer:
    """One exploration of one workflow."""

    def __init__(self, workflow: Workflow[Any, Any], input: Any) -> None:
        self.paths = Paths()
        self._workflow = workflow
        self._input = input
        self._nodes: dict[Site, Node] = {}
        self._names: Counter[str] = Counter()
        self._edges: dict[tuple[str, str, str], None] = {}
        self._complaints: dict[int, str] = {}  # by the line at which a path broke
        self._coverage = Coverage(workflow.fn.__module__)
        self._wanted_of: dict[Hashable, tuple[Any, ...]] = {}
        self._start_path()

    def explore(self) -> Description:
        """Follow all paths."""
        while (path := self.paths.next()) is not None:
            self._start_path()
            broke_at = self._follow(path.heals)
            if path.heals is not None and (broke_at is None or broke_at > path.heals):
                self._complaints[path.heals.line] = ""  # not reported: later paths pass that line, too
                self.paths.healed()
        return Description(
            self._workflow.key,
            tuple(self._nodes.values()),
            tuple(Edge(*edge) for edge in self._edges),
            (*filter(None, self._complaints.values()), *self.paths.unfollowed, *self._coverage.unreached()),
        )

    def _start_path(self) -> None:
        self._last = START
        # The predecessors of the next command, each with its outcome.
        self._tips: dict[tuple[str, str], None] = {(START, ""): None}
        self._ids: Counter[str] = Counter()
        self._active: list[Generator[Any, Any, Any]] = []
        self._thrown: list[BaseException] = []
        self._made_number = False
        self._cancelled = False

    def _follow(self, heals: Spot | None) -> Spot | None:
        """Follow one path; return where it broke, None if it did not."""
        header = Header("describe", self._workflow.key, self._workflow.version, "", "", b"", 0.0, 0.0)
        context = make_context(header, lambda change: not self.paths.choose(("patched", change), 2, "outcome", change))
        try:
            result = self._drive(self._open(context), context, "")
            if isinstance(result, c.ContinueAsNew):
                self._outcome_edge("continue as new")
            self._visit(CANCELLED if self._cancelled else END)
        except Cancelled:
            self._visit(CANCELLED)
        except PathLimit as limit:
            self.paths.unfollowed[f"after {self._last}: {limit}"] = None
        except Exception as error:
            if any(error is failure for failure in self._thrown) or self._coverage.is_raised(error):
                self._visit(CANCELLED if self._cancelled else FAILED)
            else:
                return self._broken(error, heals)
        finally:
            for gen in reversed(self._active):
                close_generator(gen)
        return None

    def _open(self, context: Context) -> Generator[Any, Any, Any]:
        workflow = self._workflow
        input = copy.deepcopy(self._input)  # the workflow may change it, and each path begins anew
        if input is None and workflow.takes_input:
            code = workflow.fn.__code__
            wanted = tuple(source.identities(code, workflow.fn.__globals__))
            input = stand_in(self, "input", "input", wanted)
        return workflow.generator(context, input)

    def is_own(self, frame: FrameType) -> bool:
        """See `World.is_own`."""
        return self._coverage.is_own(frame)

    def guessed_number(self) -> None:
        """See `World.guessed_number`."""
        self._made_number = True

    def _broken(self, error: Exception, heals: Spot | None) -> Spot:
        """Report that a stand-in may not fit at the spot where this path broke, and plan others there."""
        spot = Spot(self._ids.total(), self._coverage.line(error))
        at = f" in line {spot.line}" if spot.line else ""
        if not self.paths.guessing and (heals is None or spot >= heals):  # else the guess or replacement does not fit
            self._complaints.setdefault(
                spot.line,
                f"after {self._last}{at}: {type(error).__name__}: {str(error)[:120]} (a value may be unknown here)",
            )
            self.paths.heal(spot, len(HEALING))
        return spot

    # --- driving --------------------------------------------------------------------------------------------

    def _drive(self, gen: Generator[Any, Any, Any], ctx: Context, prefix: str) -> Any:
        self._coverage.know(gen)
        self._active.append(gen)
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                command = gen.send(value) if error is None else gen.throw(error)
            except StopIteration as stop:
                self._active.remove(gen)
                return stop.value
            ctx.not_yielded.clear()
            value, error = None, None
            try:
                value = self._outcome(command, ctx, prefix)
            except (Exception, Cancelled) as failure:
                error = failure

    def _visit(self, name: str) -> None:
        for tip, label in self._tips:
            self._edges[tip, name, label] = None
        self._last = name
        self._tips = {(name, ""): None}

    def _outcome_edge(self, label: str) -> None:
        """Label the edge from the last node with an outcome."""
        self._tips = {(tip, label): None for tip, _ in self._tips}

    def _visit_command(self, kind: str, command: Any, prefix: str, **details: Any) -> Site:
        """Visit the node of *command*, which the first visit creates. Return its site."""
        full = f"{prefix}{command.id}"
        self._ids[full] += 1
        frames = [(*source.where(frame), frame.f_globals) for frame in self._coverage.stack(self._active)]
        for code, place, _ in frames:
            self._coverage.reach(code, place)
        site: Site = (kind, full, *dict.fromkeys((code, place) for code, place, _ in frames))
        self._wanted = self._wanted_by(tuple((code, id(names)) for code, _, names in frames), frames)
        if site not in self._nodes:
            logged = full if self._ids[full] == 1 else f"{full}#{self._ids[full]}"
            code, place, _ = frames[-1]
            if self._made_number:  # a duration computed from a stand-in is unknown
                details = {k: None if k in ("timeout", "duration") else v for k, v in details.items()}
            at = f"{code.co_filename}:{place[0]}"
            self._nodes[site] = Node(kind, logged, self._name(logged, place[0]), at, **details)
        self._made_number = False
        self._visit(self._nodes[site].name)
        self.paths.visit(site, self._last)
        if any(source.is_guarded(code, place) for code, place, _ in frames) and self._turns(
            site, "cancelled", guess=True
        ):
            self._cancelled = True
            raise Cancelled("described")
        return site

    def _wanted_by(self, key: Hashable, frames: list[tuple[CodeType, source.Place, dict[str, Any]]]) -> tuple[Any, ...]:
        """Return the values that the code of *frames* distinguishes by identity."""
        if key not in self._wanted_of:
            found = [value for code, _, names in frames for value in source.identities(code, names)]
            self._wanted_of[key] = tuple({(type(value), repr(value)): value for value in found}.values())
        return self._wanted_of[key]

    def _name(self, id: str, line: int) -> str:
        for name in (id, f"{id}@{line}"):
            if not self._names[name]:
                break
        self._names[name] += 1
        return name if self._names[name] == 1 else f"{name}:{self._names[name]}"

    def _turns(self, site: Site, label: str, *, guess: bool = False) -> bool:
        """Tell whether the command at *site* has its outcome *label* on this path."""
        taken = bool(
            self.paths.choose((label, site), 2, "guess" if guess else "outcome", f"the {label} of {self._last}")
        )
        if taken:
            self._outcome_edge(label)
        return taken

    def _unknown(self, site: Site) -> Any:
        return stand_in(self, self._last, site, self._wanted)

    def _throw(self, failure: BaseException) -> BaseException:
        """Record *failure* as an outcome and return it."""
        self._thrown.append(failure)
        return failure

    def _fails(self, site: Site, id: str) -> StepFailed | None:
        if not self._turns(site, "failure"):
            return None
        failure = StepFailed(id)
        failure.cause = stand_in(self, f"{id}.cause", ("cause", site), self._wanted)
        self._throw(failure)
        return failure

    # --- commands -------------------------------------------------------------------------------------------

    def _outcome(self, command: Any, ctx: Context, prefix: str) -> Any:
        """Visit the node of *command*, and return (or raise) one of its outcomes."""
        match command:
            case c.Step(options=options):
                site = self._visit_command(
                    "step", command, prefix, timeout=options.timeout, has_compensation=options.down is not None
                )
                failure = self._fails(site, f"{prefix}{command.id}")
                if options.settled:
                    return Ok(self._unknown(site)) if failure is None else Err(failure)
                if failure is not None:
                    raise failure
                return self._unknown(site)
            case c.Sleep():
                self._visit_command("sleep", command, prefix, duration=command.seconds)
                return None
            case c.WaitForSignal(timeout=timeout):
                site = self._visit_command("signal", command, prefix, signal=command.signal, timeout=timeout)
                if timeout is None:
                    return self._unknown(site)
                return TimedOut() if self._turns(site, "timeout") else Received(self._unknown(site))
            case c.WaitForExecution(timeout=timeout):
                site = self._visit_command("execution", command, prefix, timeout=timeout)
                if timeout is not None and self._turns(site, "timeout"):
                    return TimedOut()
                self._ended(site, str(command.id))
                return self._unknown(site) if timeout is None else Completed(self._unknown(site))
            case c.Start(wait=wait):
                site = self._visit_command(
                    "child" if wait else "start",
                    command,
                    prefix,
                    workflow=command.workflow.key,
                    timeout=command.timeout,
                )
                if not wait:
                    return _id_of(command)
                self._ended(site, str(command.id))
                return self._unknown(site)
            case c.Switch():
                return self._switch(command, ctx, prefix)
            case c.All():
                return self._all(command, ctx, prefix)
            case c.Race():
                return self._race(command, ctx, prefix)
            case c.Rollback():
                self._visit_command("rollback", command, prefix)
                return c.RollbackReport()
            case c.Emit() | c.Note():
                self._visit_command(type(command).__name__.lower(), command, prefix)
                return None
            case _:
                raise PathLimit(f"{type(command).__name__} is yielded, which is not a command")

    def _names_of(self) -> set[str]:
        """Return the global names that the code on the stack uses."""
        return {name for frame in self._coverage.stack(self._active) for name in frame.f_code.co_names}

    def _ended(self, site: Site, id: str) -> None:
        if self._turns(site, "failure"):
            failure = ExecutionFailed(id)
            failure.cause = stand_in(self, f"{id}.cause", ("cause", site), self._wanted)
            raise self._throw(failure)
        if "ExecutionCancelled" in self._names_of() and self._turns(site, "child cancelled", guess=True):
            raise self._throw(ExecutionCancelled(id))

    def _switch(self, command: c.Switch[Any], ctx: Context, prefix: str) -> Any:
        branches = [*command.branches, *([command.default] if command.default is not None else [])]
        site = self._visit_command("switch", command, prefix, branches=tuple(branch.id for branch in branches))
        unmatched = command.default is None and "NoBranchMatched" in self._names_of()
        if not branches or (unmatched and self._turns(site, "no branch", guess=True)):
            raise self._throw(NoBranchMatched(f"switch {command.id!r}"))
        branch = branches[self.paths.choose(("switch", site), len(branches), "outcome", self._last)]
        self._outcome_edge(branch.id)
        return self._member(run_branch(branch.run, command.value), ctx, f"{prefix}{branch.id}/")

    def _member(self, member: Any, ctx: Context, prefix: str) -> Any:
        if isinstance(member, Generator):
            return self._drive(member, ctx, prefix)
        if isinstance(member, c.Command):
            return self._outcome(member, ctx, prefix)
        return member

    def _all(self, command: c.All[Any], ctx: Context, prefix: str) -> Any:
        site = self._visit_command("all", command, prefix, members=command.names)
        begin, ends = self._tips, dict[tuple[str, str], None]()
        results: list[Any] = []
        failures: list[tuple[BaseException, dict[tuple[str, str], None]]] = []
        quiet = self.paths.quiet
        for member, name in zip(command.members, command.names, strict=True):
            self._tips = begin  # members begin side by side
            try:
                results.append(self._member(member, ctx, f"{prefix}{name}/"))
            except (Exception, Cancelled) as error:
                failures.append((error, self._tips))
                self.paths.quiet = True  # the others had begun, too; their outcomes make no difference now
            else:
                ends |= self._tips
        self.paths.quiet = quiet
        if failures:
            first = self.paths.choose(("first", site, len(failures)), len(failures), "outcome", self._last)
            failure, self._tips = failures[first]
            raise failure
        self._tips = ends or begin
        match command.shape:
            case "list":
                return results
            case "dict":
                return dict(zip(command.keys, results, strict=True))
            case _:
                return tuple(results)

    def _race(self, command: c.Race[Any], ctx: Context, prefix: str) -> Any:
        site = self._visit_command("race", command, prefix, members=command.names)
        winner = self.paths.choose(("race", site), len(command.members), "outcome", self._last)
        for number, member in enumerate(command.members):
            if number != winner and isinstance(member, Generator):
                self._coverage.know(member)
                member.close()
        name = command.names[winner]
        self._outcome_edge(name)
        return Winner(name, self._member(command.members[winner], ctx, f"{prefix}{name}/"))


def _id_of(command: c.Start[Any]) -> str:
    """Return a text in place of the started execution's id. It is no stand-in, since every started execution has an id of this form."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", command.id)[:200]


def describe(workflow: Workflow[Any, Any], input: Any = None) -> Description:
    """Return the shape of *workflow* without executing anything. With *input*, values that depend on it are known."""
    return contextvars.Context().run(Explorer(workflow, input).explore)  # the code may set variables
