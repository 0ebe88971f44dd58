"""Arguments of steps: what a body, a compensation, a matcher or a branch changes is not seen by the workflow."""

from __future__ import annotations

import collections
import dataclasses
import threading
from typing import Any, NamedTuple

import attrs
import pytest

from replay import Branch, Context, Flow, Retry, workflow
from replay.core.copies import own, own_arguments
from replay.testing import Simulation, assert_replay_equivalent


@dataclasses.dataclass
class Order:
    items: list[int]


@attrs.frozen
class Frozen:
    name: str
    items: Any = ()


class Client:
    calls = 0


def change(order: Order, prices: dict[str, list[int]], *, tags: set[str]) -> int:
    order.items.append(1)
    prices["lamp"].append(2)
    tags.add("seen")
    return len(order.items)


@workflow
def pays(ctx: Context) -> Flow[list[Any]]:
    order, prices, tags = Order([]), {"lamp": [1]}, {"new"}
    found = yield from ctx.step("change", change, order, prices, tags=tags)
    return [found, order.items, prices, sorted(tags)]


def grow(items: list[int]) -> int:
    items.append(1)
    if len(items) < 2:
        raise ValueError("again")
    return len(items)


@workflow
def retried(ctx: Context) -> Flow[str]:
    result = yield from ctx.step("grow", grow, []).retry(Retry(3, initial=0.01)).settled()
    return type(result).__name__


def spoil(items: list[int]) -> None:
    items.clear()


@workflow
def undone(ctx: Context) -> Flow[list[int]]:
    made = yield from ctx.step("make", list, (1, 2)).down(spoil)
    yield from ctx.rollback()
    return made


def spoils_and_matches(items: list[int]) -> bool:
    items.append(9)
    return True


@workflow
def switched(ctx: Context) -> Flow[list[Any]]:
    value: list[int] = [1]
    size = yield from ctx.switch(
        "s", value, [Branch("b", spoils_and_matches, lambda items: items.append(8) or len(items))]
    )
    return [size, value]


@pytest.mark.parametrize(
    ("flow", "expected"),
    [(pays, [1, [], {"lamp": [1]}, ["new"]]), (retried, "Err"), (undone, [1, 2]), (switched, [2, [1]])],
    ids=lambda value: getattr(value, "key", None),
)
@pytest.mark.parametrize("cache_size", [0, 100])
def test_changes_of_arguments_are_not_seen_by_the_workflow(flow: Any, expected: Any, cache_size: int) -> None:
    sim = Simulation(workflows=[flow], cache_size=cache_size)
    handle = sim.start(flow)
    sim.run()
    sim.advance(seconds=1)
    assert handle.result() == expected
    assert_replay_equivalent(flow)


def test_what_nobody_can_change_is_not_copied() -> None:
    for value in ("x", 1, None, (1, "x"), frozenset({1}), Frozen("x"), Frozen("x", (1, 2)), Order):
        assert own(value) is value
    args = (1, "x")
    assert own_arguments(args, {})[0] is args


@pytest.mark.parametrize(
    "value",
    [[1], {"a": [1]}, {1}, bytearray(b"x"), ([1],), Frozen("x", [1]), Order([1]), collections.deque([[1]])],
    ids=repr,
)
def test_what_can_be_changed_is_copied_and_equal(value: Any) -> None:
    copy = own(value)
    assert copy is not value
    assert copy == value
    assert type(copy) is type(value)


def test_rarer_containers_are_copied() -> None:
    for value in (collections.OrderedDict(a=[1]), collections.defaultdict(list, a=[1]), collections.Counter("aab")):
        copy = own(value)
        assert copy is not value
        assert copy == value
        assert type(copy) is type(value)


def test_shared_parts_stay_shared_and_circles_stay_closed() -> None:
    shared: list[Any] = []
    shared.append(shared)
    (first, second), _ = own_arguments((shared, shared), {})
    assert first is second
    assert first[0] is first
    assert first is not shared


def test_clients_are_passed_as_they_are_also_within_containers() -> None:
    client = Client()
    assert own(client) is client
    assert own([client])[0] is client


class Pair(NamedTuple):
    first: Any
    second: Any


class Refusing:
    """A container whose copying fails, as that of one with a lock does."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no copies")


@dataclasses.dataclass
class Lazy:
    items: list[int]
    cache: Any = dataclasses.field(init=False, compare=False)


@attrs.define
class Single:
    items: list[int]

    def __copy__(self) -> Single:
        raise TypeError("there is one")


class Meta(type):
    pass


def test_named_tuples_keep_their_class_and_unset_fields_stay_unset() -> None:
    pair = own(Pair([1], "x"))
    assert (type(pair), pair) == (Pair, Pair([1], "x"))
    frozen = frozenset({1, (1, Frozen("x"))})
    assert own(frozen) is frozen
    client = frozenset({Client()})
    assert own(client) is client
    lazy = Lazy([1])
    copy = own(lazy)
    assert copy == lazy
    assert copy.items is not lazy.items
    assert not hasattr(copy, "cache")


def test_what_cannot_be_copied_is_passed_as_it_is() -> None:
    locked = collections.deque([threading.Lock()])
    error = ValueError([1])
    for value in (Refusing(), locked, Single([1]), error, Meta("made", (), {})):
        assert own(value) is value
