"""Structs of msgspec are values like dataclasses: stored field by field, copied for steps, made of an input's dict."""

from __future__ import annotations

import msgspec
import pytest

from replay.codec import TaggedJson
from replay.core.copies import own
from replay.core.errors import NotSerializable, Undecodable
from replay.input_types import converted


class Line(msgspec.Struct, frozen=True):
    sku: str
    count: int = 1


class Basket(msgspec.Struct):
    lines: list[Line]
    notes: dict[str, str] = msgspec.field(default_factory=dict)


class Tagged(msgspec.Struct, dict=True):
    name: str


class Positive(msgspec.Struct):
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("not positive")


def test_a_struct_comes_back_as_it_was() -> None:
    codec = TaggedJson()
    basket = Basket([Line("tea", 2), Line("cup")], {"gift": "yes"})
    assert codec.decode(codec.encode(basket)) == basket


def test_a_field_added_later_takes_its_default() -> None:
    codec = TaggedJson()
    older = codec.encode(Line("tea", 2)).replace(b',"count":2', b"")
    assert codec.decode(older) == Line("tea", 1)


def test_a_field_that_is_gone_is_refused() -> None:
    codec = TaggedJson()
    newer = codec.encode(Line("tea", 2)).replace(b'"count"', b'"amount"')
    with pytest.raises(Undecodable, match="no field 'amount' any more"):
        codec.decode(newer)


def test_a_struct_that_refuses_what_was_stored_is_undecodable() -> None:
    codec = TaggedJson()
    stored = codec.encode(Positive(1)).replace(b'"number":1', b'"number":0')
    with pytest.raises(Undecodable, match="not positive"):
        codec.decode(stored)


def test_a_struct_with_more_than_its_fields_is_refused() -> None:
    value = Tagged("a")
    value.__dict__["colour"] = "red"
    with pytest.raises(NotSerializable, match="colour"):
        TaggedJson().encode(value)


def test_a_step_gets_its_own_struct() -> None:
    basket = Basket([Line("tea")])
    copy = own(basket)
    assert copy == basket
    assert copy is not basket
    assert copy.lines is not basket.lines
    assert copy.lines[0] is basket.lines[0]  # nobody can change a frozen struct of immutable values


def test_an_inputs_dict_becomes_a_struct() -> None:
    assert converted(Basket, {"lines": [{"sku": "tea", "count": 3}]}, "") == Basket([Line("tea", 3)])
