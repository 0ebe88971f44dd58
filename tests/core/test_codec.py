"""The codec gives back what it was given, in value and type, with either engine; or refuses."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import sys
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import NotSerializable, RemoteError, StepFailed, Undecodable
from replay.codec import TaggedJson

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.decimals(allow_nan=False),
    st.fractions(), st.uuids(), st.dates(), st.times(), st.datetimes(), st.datetimes(timezones=st.just(dt.UTC)), st.timedeltas(),
)  # fmt: skip
HASHABLE = st.one_of(st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner), st.dictionaries(HASHABLE, inner),
        st.sets(HASHABLE), st.frozensets(HASHABLE),
    ),
    max_leaves=10,
)  # fmt: skip


@given(VALUES, st.sampled_from(["orjson", "json"]), st.sampled_from(["orjson", "json"]))
def test_values_come_back_the_same_whichever_engine_wrote_and_read_them(value: Any, writer: str, reader: str) -> None:
    found = TaggedJson(reader).decode(TaggedJson(writer).encode(value))
    assert found == value
    assert repr(type(found)) == repr(type(value))


@given(
    st.recursive(
        st.none() | st.text(),
        lambda i: st.lists(i) | st.dictionaries(st.sampled_from(["$obj", "$exc", "$enum", "$int"]), i),
    )
)
def test_hostile_text_imports_nothing_and_fails_as_undecodable(value: Any) -> None:
    import json

    before = set(sys.modules)
    try:
        TaggedJson().decode(json.dumps(value).encode())
    except Undecodable:
        pass
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["subprocess:Popen", "os:system", "builtins:eval", "no.such:Thing"])
def test_classes_that_are_not_trusted_are_refused(name: str) -> None:
    with pytest.raises(Undecodable):
        TaggedJson().decode(b'{"$obj":["%b",{}]}' % name.encode())
    found = TaggedJson().decode(b'{"$exc":{"type":"%b","args":["x"],"text":"x"}}' % name.encode())
    assert type(found) is RemoteError


def test_a_refusal_names_the_path_inside_the_value() -> None:
    with pytest.raises(NotSerializable, match=r"\.items\[1\]\.price"):
        TaggedJson().encode({"items": [1, {"price": object()}]})


def test_errors_come_back_with_their_attributes_and_cause() -> None:
    codec = TaggedJson()
    found = codec.decode(codec.encode(StepFailed("pay", 2, ValueError("no"))))
    assert (found.step_id, found.attempts, repr(found.__cause__)) == ("pay", 2, "ValueError('no')")
    assert found.cause is found.__cause__


def test_special_values() -> None:
    codec = TaggedJson()
    for value in (2**80, float("inf"), "\ud800", decimal.Decimal("1.50"), fractions.Fraction(1, 3), uuid.UUID(int=5)):
        assert codec.decode(codec.encode(value)) == value
