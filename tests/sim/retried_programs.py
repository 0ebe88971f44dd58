"""Random workflows whose steps fail: what a retry makes of them must equal a run in which the failed steps succeed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from replay import Branch, Context, Retry, workflow
from replay.core.commands import Command


class Broken(Exception):
    """The error of a step while the world is broken."""


class World:
    """Whether steps fail, and what they did.

    Attributes:
        broken: Flaky steps fail.
        once: Each flaky step fails the first time that it runs.
        done: Names of the steps that succeeded, in order.
    """

    def __init__(self) -> None:
        self.broken = self.once = False
        self.done: list[str] = []
        self._failed: set[str] = set()

    def begin(self, *, broken: bool = False, once: bool = False) -> None:
        self.broken, self.once, self.done, self._failed = broken, once, [], set()

    def work(self, name: str, flaky: bool) -> str:
        if flaky and (self.broken or (self.once and name not in self._failed)):
            self._failed.add(name)
            raise Broken(name)
        self.done.append(name)
        return f"did {name}"


WORLD = World()


def undo(result: str) -> str:
    return f"undid {result}"


STEP = st.builds(
    lambda flaky, tries, down: ("step", flaky, tries, down),
    st.sampled_from([False, False, True]),
    st.sampled_from([1, 1, 2]),
    st.booleans(),
)
LEAF = st.one_of(
    STEP,
    STEP,
    st.builds(lambda seconds: ("sleep", seconds), st.sampled_from([0, 1, 5, 5, 60])),
    st.just(("note",)),
    st.builds(lambda value, step: ("switch", value, step), st.integers(0, 2), STEP),
)
BLOCK = st.lists(LEAF, max_size=3)
KEYED = st.builds(lambda key, nodes: ("keyed", key, nodes), st.integers(0, 10**6), BLOCK)


def _forms(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    block = st.lists(inner, max_size=3)
    return st.one_of(
        st.builds(
            lambda members, limit: ("all", members, limit), st.lists(block, max_size=4), st.sampled_from([None, 2])
        ),
        st.builds(lambda member, slow: ("race", member, slow), block, BLOCK),
        st.builds(
            lambda nodes, policy: ("child", nodes, policy), BLOCK, st.sampled_from(["cancel", "abandon", "wait"])
        ),
        KEYED,
        st.builds(lambda nodes, between: ("start", nodes, between), BLOCK, block),
        st.builds(lambda nodes, cleanup: ("finally", nodes, cleanup), block, block),
    )


def _named(nodes: list[Any], path: str = "") -> Any:
    """Give each step of *nodes* a name of its own."""
    named: list[Any] = []
    for number, node in enumerate(nodes):
        at = f"{path}{number}"
        match node:
            case ("step", *rest):
                named.append(["step", at, *rest])
            case ("switch", value, step):
                named.append(["switch", value, _named([step], f"{at}.")])
            case ("all", members, limit):
                named.append(["all", [_named(m, f"{at}.{i}.") for i, m in enumerate(members)], limit])
            case ("race", member, slow):
                named.append(["race", _named(member, f"{at}.f."), _named(slow, f"{at}.s.")])
            case ("child", body, policy):
                named.append(["child", _named(body, f"{at}."), policy])
            case ("keyed", key, body):
                named.append(["keyed", f"{at}-{key}", _named(body, f"{at}.")])
            case ("start" | "finally" as kind, first, second):
                named.append([kind, _named(first, f"{at}.a."), _named(second, f"{at}.b.")])
            case _:
                named.append(list(node))
    return named


programs = st.lists(
    st.one_of(st.recursive(LEAF, _forms, max_leaves=8), st.just(("rollback",))), min_size=1, max_size=4
).map(_named)


def kinds(nodes: Any) -> Iterator[str]:
    """Yield the kinds of all nodes in *nodes*."""
    if isinstance(nodes, list | tuple):
        if nodes and isinstance(nodes[0], str):
            yield nodes[0]
        for each in nodes:
            yield from kinds(each)


@workflow("retried.kid")
def kid(ctx: Context, nodes: list[Any]) -> Any:
    return (yield from member(ctx, nodes))


@workflow("retried.by_operator")
def by_operator(ctx: Context, nodes: list[Any]) -> Any:
    return (yield from member(ctx, nodes))


@workflow("retried.by_policy", retry=Retry(attempts=40, initial=7.0, factor=1.0))
def by_policy(ctx: Context, nodes: list[Any]) -> Any:
    return (yield from member(ctx, nodes))


def member(ctx: Context, nodes: list[Any]) -> Any:
    trace: list[Any] = []
    for node in nodes:
        yield from _run(ctx, node, trace)
    return trace


def _step(ctx: Context, name: str, flaky: bool, tries: int, down: bool) -> Command[Any]:
    step = ctx.step(name, WORLD.work, name, flaky).retry(Retry(tries, initial=1.0))
    return step.down(undo) if down else step


def _run(ctx: Context, node: list[Any], trace: list[Any]) -> Any:
    match node:
        case ["step", name, flaky, tries, down]:
            trace.append((yield _step(ctx, name, flaky, tries, down)))
        case ["sleep", seconds]:
            yield ctx.sleep(seconds)
        case ["note"]:
            yield ctx.note("noted")
        case ["switch", value, steps]:
            branches = [Branch("zero", 0, "nothing"), Branch("one", 1, lambda: member(ctx, steps))]
            trace.append((yield ctx.switch("pick", value, branches, default="other")))
        case ["rollback"]:
            trace.append(sorted((yield ctx.rollback()).undone))
        case ["all", members, limit]:
            trace.append((yield ctx.all([member(ctx, each) for each in members], limit=limit)))
        case ["race", fast, slow]:
            won = yield ctx.race(slow=_slow(ctx, slow), fast=member(ctx, fast))
            trace.append([won.name, won.value])
        case ["child", body, policy]:
            trace.append((yield ctx.child("kid", kid, body, on_parent_close=policy)))
        case ["keyed", key, body]:
            trace.append((yield ctx.child("keyed", kid, body, idempotency_key=key)))
        case ["start", body, between]:
            id = yield ctx.start("begun", kid, body)
            trace.append((yield from member(ctx, between)))
            trace.append((yield ctx.wait_for_execution(kid, id)))
        case ["finally", body, cleanup]:
            try:
                trace.append((yield from member(ctx, body)))
            finally:
                trace.append((yield from member(ctx, cleanup)))


def _slow(ctx: Context, nodes: list[Any]) -> Any:
    """Lose the race; its steps come after those of the winner."""
    yield ctx.sleep(1_000_000)
    return (yield from member(ctx, nodes))
