"""Inputs are what the workflow's annotation says: converted from plain data at `start`, or refused there."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import sys
import uuid
from typing import Any, Literal, NamedTuple

import attrs
import pydantic
import pytest

from replay import Context, Engine, Flow, workflow
from tests.servers.process import PATIENCE


class Size(enum.Enum):
    SMALL = "s"


@dataclasses.dataclass
class Item:
    sku: str
    count: int = 1


@attrs.frozen
class Order:
    id: str
    items: list[Item] = attrs.Factory(list)
    due: dt.date | None = None
    _note: str = ""


class Spot(NamedTuple):
    x: float
    y: float


class User(pydantic.BaseModel):
    name: str
    age: int


def taking(annotation: Any) -> Any:
    def fn(ctx: Context, value: Any) -> Flow[Any]:
        yield from ctx.sleep(0)
        return value

    fn.__annotations__ = {"ctx": Context, "value": annotation, "return": Flow[Any]}
    return workflow(fn)


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (Item, {"sku": "a"}, Item("a")),
        (
            Order,
            {"id": "o", "items": [{"sku": "a", "count": 2}], "due": "2026-01-31"},
            Order("o", [Item("a", 2)], dt.date(2026, 1, 31)),
        ),
        (Order, {"id": "o", "note": "n"}, Order("o", note="n")),
        (Spot, {"x": 1, "y": 2.5}, Spot(1, 2.5)),
        (User, {"name": "ann", "age": 7}, User(name="ann", age=7)),
        (Size, "s", Size.SMALL),
        (dt.timedelta, 90, dt.timedelta(seconds=90)),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (list[Item], [{"sku": "a"}], [Item("a")]),
        (dict[str, Item], {"k": {"sku": "a"}}, {"k": Item("a")}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[int], [1, 2], {1, 2}),
        (Item | None, None, None),
        (Item | None, {"sku": "a"}, Item("a")),
        (int | str, "a", "a"),
        (Literal["a", 1], "a", "a"),
        (float, 1, 1),
        (Any, {"x": object}, {"x": object}),
        ("Unknown", {"x": 1}, {"x": 1}),
    ],
)
def test_plain_data_become_what_the_annotation_says(annotation: Any, given: Any, expected: Any) -> None:
    found = taking(annotation).input_value(given)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize("value", [Item("a"), Order("o", [Item("a")]), [Item("a")], {"k": Item("a")}, (1, "a")])
def test_an_instance_stays_the_same_object(value: Any) -> None:
    kinds = {list: list[Item], dict: dict[str, Item], tuple: tuple[int, str]}
    assert taking(kinds.get(type(value), type(value))).input_value(value) is value


@pytest.mark.parametrize(
    ("annotation", "given", "said"),
    [
        (Item, "text", "takes Item, not str"),
        (Item, None, "takes Item, not NoneType"),
        (Item, {"sku": "a", "colour": 1}, "takes Item, not dict"),
        (Item, {"sku": 7}, r"input\.sku is int, not str"),
        (
            Order,
            {"id": "o", "items": [{"sku": "a"}, {"sku": "b", "count": "2"}]},
            r"input\.items\[1\]\.count is str, not int",
        ),
        (User, {"name": "ann"}, "age"),
        (Size, "xl", "takes Size, not str"),
        (Literal["a", "b"], "c", "not str"),
        (tuple[int, str], [1], "not list"),
        (list[int], {"a": 1}, "not dict"),
        (dict[str, int], [1], "not list"),
        (int | None, "a", "not str"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_types_named(annotation: Any, given: Any, said: str) -> None:
    with pytest.raises(TypeError, match=rf"workflow 'fn' takes .*{said}" if not said.startswith("takes") else said):
        taking(annotation).input_value(given)


@workflow("onboard")
def onboard(ctx: Context, item: Item) -> Flow[str]:
    return (yield from ctx.step("read", lambda given: given.sku, item))


def test_starts_and_schedules_convert_and_refuse_alike() -> None:
    with Engine("memory://", workflows=[onboard], worker=True) as engine:
        assert engine.start("onboard", {"sku": "a"}).result(PATIENCE) == "a"
        assert engine.schedule("onboard", {"sku": "b"}, delay=0).result(PATIENCE) == "b"
        assert engine.ensure_schedule("onboard", {"sku": "c"}, id="nightly", cron="@daily").input == Item("c")
        for call in (
            lambda: engine.start("onboard", 7),
            lambda: engine.schedule("onboard", 7, delay=0),
            lambda: engine.ensure_schedule("onboard", 7, id="other", cron="@daily"),
            lambda: engine.update_schedule("nightly", input=7),
        ):
            with pytest.raises(TypeError, match="takes Item, not int"):
                call()


def test_a_class_of_the_script_is_warned_of_at_start(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = type("Cart", (), {"__module__": "__main__", "__annotations__": {"id": str}})
    cart = attrs.frozen(script)
    monkeypatch.setattr(sys.modules["__main__"], "Cart", cart, raising=False)
    with Engine("memory://", workflows=[taking(Any)]) as engine:
        engine.start("fn", cart("c-1"))
    assert "a Cart, a class of the script that runs here" in caplog.text
    caplog.clear()
    with Engine("memory://", workflows=[taking(Any)], worker=True) as engine:
        engine.start("fn", cart("c-1"))
    assert caplog.text == "", "the script itself runs it"
