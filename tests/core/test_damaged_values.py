"""Stored text that no codec wrote, or whose class has changed since: `Undecodable` with the reason, never another value (I45)."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import pytest

from replay.codec import TaggedJson
from replay.codec.refusal import MAX_DEPTH
from replay.core.errors import Undecodable
from tests.core import test_damaged_values as here


class Colour(enum.Enum):
    RED = "r"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: int
    y: int = 7


@attrs.frozen
class Line:
    sku: str
    count: int = 1
    tags: list[str] = attrs.field(factory=list)


@dataclass
class Order:
    id: str
    note: str = "none"


NAME = f"{here.__name__}:"


def decoded(value: Any) -> Any:
    codec = TaggedJson()
    codec.trust("tests")
    return codec.decode(json.dumps(value).encode())


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({"$nonsense": 1}, "unknown tag"),
        ({"$int": []}, "damaged"),
        ({"$bytes": 5}, "damaged"),
        ({"$bytes": "%"}, "damaged"),
        ({"$uuid": ["x", "safe"]}, "damaged"),
        ({"$path": ["Path", 5]}, "damaged"),
        ({"$path": ["Nowhere", "x"]}, "damaged"),
        ({"$range": [1, "x", 2]}, "damaged"),
        ({"$float": "seven"}, "damaged"),
        ({"$set": 5}, "damaged"),
        ({"$dict": [[1]]}, "damaged"),
        ({"$tuple": {}}, "damaged"),
        ({"$enum": [NAME + "Colour", "GREEN"]}, "no member 'GREEN'"),
        ({"$enum": [NAME + "Order", "RED"]}, "is not an enum any more"),
        ({"$flag": [NAME + "Rights", 64]}, "64"),
        ({"$namedtuple": [NAME + "Point", [1, 2, 3]]}, "fewer fields than the 3 stored"),
        ({"$namedtuple": [NAME + "Point", []]}, "lacks field 'x'"),
        ({"$namedtuple": [NAME + "Point", [1], ["z"]]}, "no field 'z'"),
        ({"$namedtuple": [NAME + "Point", [1], ["y"]]}, "lacks field 'x'"),
        ({"$namedtuple": [NAME + "Order", [1]]}, "is not a NamedTuple any more"),
        ({"$obj": [NAME + "Line", {"sku": "a", "price": 1}]}, "no field 'price'"),
        ({"$obj": [NAME + "Line", {}]}, "lacks field 'sku'"),
        ({"$obj": [NAME + "Line", []]}, "damaged"),
        ({"$obj": [NAME + "Colour", {}]}, "is not attrs, a dataclass or a struct any more"),
        ({"$obj": [NAME + "Nowhere", {}]}, "Nowhere"),
        ({"$model": [NAME + "Order", {}, None, None, []]}, "is not a pydantic model any more"),
        ({"$custom": [NAME + "Order", 1]}, "is not registered with functions"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_damaged_text_is_undecodable(stored: Any, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        decoded(stored)
    with pytest.raises(Undecodable, match=reason):
        decoded({"list": [[stored]]})


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('{"$tuple":[', "]}")])
def test_text_with_classes_that_is_nested_too_deeply_is_undecodable(opening: str, closing: str) -> None:
    text = opening * (MAX_DEPTH + 50) + '{"$tuple":[1]}' + closing * (MAX_DEPTH + 50)
    with pytest.raises(Undecodable, match="nested deeper"):
        TaggedJson().decode(text.encode())


def test_fields_that_were_added_since_take_their_defaults() -> None:
    assert decoded({"$namedtuple": [NAME + "Point", [1]]}) == Point(1, 7)
    assert decoded({"$namedtuple": [NAME + "Point", [2, 1], ["y", "x"]]}) == Point(1, 2)
    assert decoded({"$namedtuple": [NAME + "Point", [1], ["x"]]}) == Point(1, 7)
    assert decoded({"$obj": [NAME + "Line", {"sku": "a"}]}) == Line("a", 1, [])
    assert decoded({"$obj": [NAME + "Order", {"id": "a"}]}) == Order("a", "none")
    assert decoded({"$flag": [NAME + "Rights", 3]}) == Rights.READ | Rights.WRITE
