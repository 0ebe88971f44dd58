"""Random workflows: programs drawn by Hypothesis, the workflow that runs them, and a naive runner that says what they mean.

The naive runner has no log, no store, no worker and no time: it is the meaning of the language, in a page.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from hypothesis import strategies as st

from replay import Branch, Cancelled, Context, ExecutionFailed, Retry, StepFailed, current_step, workflow
from replay.codec import TaggedJson
from replay.core import commands as c
from replay.core.context import Context as PlainContext
from replay.core.effects import Call
from replay.core.generators import close_generator
from replay.core.ids import child_id
from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner
from replay.core.requests import Header
from replay.worker.sources import ExecutionSources
from replay.worker.steps import run_call


class Refusal(Exception):
    """What a generated step raises."""


def body(name: str, failures: int) -> str:
    if current_step().attempt <= failures:
        raise Refusal(name)
    return f"did {name}"


def undo(result: str) -> str:
    return f"undid {result}"


def double(number: int) -> int:
    return 2 * number


NAMES = st.sampled_from(["a", "b", "c", "d"])

STEP = st.builds(
    lambda name, failures, tries, down, settled: ("step", name, failures, tries, down, settled),
    NAMES,
    st.sampled_from([0, 0, 0, 1, 9]),
    st.sampled_from([1, 1, 3]),
    st.booleans(),
    st.sampled_from([False, False, True]),
)
LEAF = st.one_of(
    STEP,
    STEP,
    st.builds(lambda s: ("sleep", s), st.sampled_from([0, 1, 3600])),
    st.just(("note",)),
    st.just(("patched",)),
    st.builds(lambda name: ("once", name), NAMES),
    st.just(("raise",)),
    st.builds(lambda v: ("switch", v), st.integers(0, 3)),
)
ROOT_LEAF = st.one_of(
    LEAF,
    st.just(("random",)),  # not in members: which member draws first from a shared stream is the log's to say
    st.builds(lambda n, t: ("signal", n, t), st.sampled_from(["s", "t"]), st.sampled_from([None, 5, 5])),
    st.just(("rollback",)),
    st.just(("emit",)),
)


def fails(node: Any) -> bool:
    return node[0] == "raise" or (node[0] == "step" and node[2] >= node[3] and not node[5])


def comparable(members: list[list[Any]]) -> list[list[Any]]:
    """Where a member may fail, how far the others get is the log's to say: they must not leave what the result shows."""
    if not any(fails(node) for member in members for node in member):
        return members
    plain = {"step": lambda n: (*n[:4], False, n[5]), "switch": lambda n: ("note",)}
    return [[plain.get(node[0], lambda n: n)(node) for node in member] for member in members]


def bodies(leaf: st.SearchStrategy[Any], parallel: bool) -> st.SearchStrategy[Any]:
    def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        block = st.lists(inner, max_size=3)
        forms = [
            st.builds(lambda b, h, e, f: ("try", b, h, e, f), block, block, block, block),
            st.builds(lambda b: ("sub", b), block),
            st.builds(lambda n, b: ("loop", n, b), st.integers(0, 3), block),
        ]
        if parallel:
            members = st.lists(st.lists(LEAF, max_size=3), max_size=4)
            forms += [
                st.builds(lambda m, n: ("all", comparable(m), n), members, st.sampled_from([None, None, 1, 2])),
                st.builds(lambda b: ("race", b), st.lists(STEP, max_size=2)),
                st.builds(lambda b: ("child", b), st.lists(LEAF, max_size=3)),
                st.builds(lambda b, f: ("start", b, f), st.lists(LEAF, max_size=2), st.lists(LEAF, max_size=2)),
                st.builds(lambda n, m: ("map", n, m), st.integers(0, 4), st.sampled_from([None, 1, 2])),
            ]
        return st.one_of(*forms)

    return st.lists(st.recursive(leaf, extend, max_leaves=8), max_size=5)


programs = bodies(ROOT_LEAF, parallel=True)
inboxes = st.fixed_dictionaries({"s": st.integers(0, 2), "t": st.integers(0, 1)})


@workflow("program")
def program(ctx: Context, nodes: list[Any]) -> Any:
    trace: list[Any] = []
    yield from run_nodes(ctx, nodes, trace)
    return trace


@workflow("child")
def child(ctx: Context, nodes: list[Any]) -> Any:
    trace: list[Any] = []
    yield from run_nodes(ctx, nodes, trace)
    yield ctx.note("child")
    return trace


def member(ctx: Context, nodes: list[Any]) -> Any:
    trace: list[Any] = []
    yield from run_nodes(ctx, nodes, trace)
    return trace


def run_nodes(ctx: Context, nodes: list[Any], trace: list[Any]) -> Any:
    for node in nodes:
        kind, *rest = node
        match kind:
            case "step":
                name, failures, tries, down, settled = rest
                step = ctx.step(name, body, name, failures).retry(Retry(tries, initial=1.0))
                if down:
                    step = step.down(undo)
                result = yield step.settled() if settled else step
                trace.append(result if not settled else "ok" if isinstance(result, Ok) else "err")
            case "sleep":
                yield ctx.sleep(rest[0])
            case "note":
                yield ctx.note("noted", x=1)
            case "random":
                trace.append(ctx.random("r").randrange(1000) if ctx.uuid().version == 4 else None)
            case "patched":
                trace.append(ctx.patched("p"))
            case "raise":
                raise ValueError("raised")
            case "emit":
                yield ctx.emit("happened", {"n": 1})
            case "switch":
                chosen = yield ctx.switch(
                    "pick",
                    rest[0],
                    [
                        Branch("zero", 0, "nothing"),
                        Branch("one", lambda v: v == 1, lambda: "one"),
                        Branch("two", 2, lambda: member(ctx, [("step", "z", 0, 1, True, False)])),
                    ],
                    default="other",
                )
                trace.append(chosen)
            case "signal":
                name, timeout = rest
                got = yield ctx.wait_for_signal(name, timeout=timeout)
                trace.append("timeout" if isinstance(got, TimedOut) else "signal")
            case "rollback":
                report = yield ctx.rollback()
                trace.append(sorted(report.undone))
            case "sub":
                yield from run_nodes(ctx, rest[0], trace)
            case "loop":
                for _ in range(rest[0]):
                    yield from run_nodes(ctx, rest[1], trace)
            case "all":
                results = yield ctx.all([member(ctx, m) for m in rest[0]], limit=rest[1])
                trace.append(results)
            case "race":
                won = yield ctx.race(slow=ctx.sleep(100_000), fast=member(ctx, rest[0]))
                trace.append(won.name)
            case "child":
                trace.append((yield ctx.child("kid", child, rest[0])))
            case "start":
                id = yield ctx.start("begun", child, rest[0])
                yield from run_nodes(ctx, rest[1], trace)
                trace.append((yield ctx.wait_for_execution(child, id)))
            case "map":
                trace.append((yield ctx.map("part", double, range(rest[0]), limit=rest[1])))
            case "once":
                # After a crash it may be interrupted instead: what counts here is that the program goes on.
                yield ctx.step(rest[0], body, rest[0], 0).at_most_once().settled()
                trace.append("once")
            case "try":
                yield from run_try(ctx, rest, trace)


def run_try(ctx: Context, parts: list[Any], trace: list[Any]) -> Any:
    attempt, handler, otherwise, final = parts
    try:
        yield from run_nodes(ctx, attempt, trace)
    except (StepFailed, ValueError, ExecutionFailed) as error:
        trace.append(f"caught {isinstance(error, Exception)}")
        yield from run_nodes(ctx, handler, trace)
    else:
        yield from run_nodes(ctx, otherwise, trace)
    finally:
        yield from run_nodes(ctx, final, trace)


# --- what a program means -------------------------------------------------------------------------------


class Blocked(Exception):
    """The program waits for a signal that never comes."""


class Naive:
    """Runs a program's generator without an engine."""

    def __init__(self, inbox: dict[str, int], sources: Any) -> None:
        self.inbox = dict(inbox)
        self.undos: list[tuple[str, Any]] = []
        self.ids: dict[str, int] = {}
        self.started: dict[str, Callable[[], Any]] = {}
        self.ctx = PlainContext("x-1", sources, lambda change: True)
        self.codec = TaggedJson()

    def run(self, gen: Generator[Any, Any, Any], prefix: str = "") -> Any:
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                command = gen.send(value) if error is None else gen.throw(error)
            except StopIteration as stop:
                return stop.value
            self.ctx.not_yielded.clear()
            value, error = None, None
            try:
                value = self.do(command, prefix)
            except (Exception, Cancelled) as raised:
                if isinstance(raised, Blocked):
                    close_generator(gen)
                    raise
                error = raised

    def do(self, command: Any, prefix: str) -> Any:
        full = prefix + command.id
        self.ids[full] = self.ids.get(full, 0) + 1
        id = full if self.ids[full] == 1 else f"{full}#{self.ids[full]}"
        match command:
            case c.Step():
                return self.step(command, id)
            case c.Sleep() | c.Note() | c.Emit():
                return None
            case c.WaitForSignal():
                if self.inbox.get(command.signal, 0):
                    self.inbox[command.signal] -= 1
                    return Received("p") if command.timeout is not None else "p"
                if command.timeout is None:
                    raise Blocked
                return TimedOut()
            case c.Switch():
                hit = next(
                    b
                    for b in [*command.branches, command.default]
                    if b is command.default
                    or (b.match(command.value) if callable(b.match) else b.match == command.value)
                )
                result = hit.run() if callable(hit.run) else hit.run
                return self.run(result, f"{prefix}{hit.id}/") if isinstance(result, Generator) else result
            case c.Rollback():
                undone = []
                while self.undos:
                    name, result = self.undos.pop()
                    undone.append(name)
                return c.RollbackReport(tuple(undone))
            case c.All():
                members = zip(command.members, [f"{prefix}{name}/" for name in command.names], strict=True)
                return [self.run(m, at) if isinstance(m, Generator) else self.do(m, at) for m, at in members]
            case c.Race():
                return Winner("fast", self.run(command.members[1], f"{prefix}fast/"))
            case c.Start(wait=True):
                return self.child(command, child_id("x-1", 0, id))()
            case c.Start():
                self.started[child_id("x-1", 0, id)] = self.child(command, child_id("x-1", 0, id))
                return child_id("x-1", 0, id)
            case c.WaitForExecution():
                return self.started[command.execution_id]()
        raise AssertionError(command)

    def child(self, command: Any, id: str) -> Callable[[], Any]:
        """Run a child; return what gives its result or raises its failure."""
        sources = ExecutionSources(Header(id, "", "", "", "", b"", 0.0, 0.0))
        inner = Naive({}, sources)
        try:
            result = inner.run(command.workflow(inner.ctx, command.input))
        except Exception as error:
            failure = error

            def fail() -> Any:
                raise ExecutionFailed("kid", failure) from failure

            return fail
        return lambda: result

    def step(self, command: Any, id: str) -> Any:
        policy = command.options.retry
        for attempt in range(1, policy.attempts + 1):
            call = Call("x-1", "program", 0, id, command.fn, command.args, command.kwargs, attempt, "t")
            returned = run_call(call, self.codec, 10**6)
            if returned.error is None:
                if command.options.down is not None:
                    self.undos.append((id, returned.value))
                return Ok(returned.value) if command.options.settled else returned.value
        failed = StepFailed(id, policy.attempts, returned.error)
        if command.options.settled:
            return Err(failed)
        raise failed


__all__ = ["Blocked", "Completed", "Naive", "child", "inboxes", "program", "programs"]
