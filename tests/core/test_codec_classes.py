"""Classes come back exactly, with either engine; hostile text runs nothing."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import attrs
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay import NotSerializable, RemoteError, Undecodable, serializable
from replay.codec import TaggedJson


@serializable
class Color(enum.Enum):
    RED = "red"
    BLUE = 2


@serializable
class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@serializable
class Level(enum.IntEnum):
    LOW = 1


@serializable
class Point(NamedTuple):
    x: int
    y: Any = None


@serializable
@attrs.frozen
class Frozen:
    name: str
    _private: int = 0
    more: tuple[Any, ...] = ()


@serializable
@dataclasses.dataclass
class Plain:
    value: Any
    items: list[Any] = dataclasses.field(default_factory=list)


@serializable
@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    value: Any


@serializable
class Model(pydantic.BaseModel):
    name: str
    when: dt.date
    inner: Frozen | None = None
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True, extra="allow")


@serializable
class Odd(Exception):
    def __init__(self, code: int, *, detail: str = "") -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


LEAVES = st.one_of(
    st.integers(), st.text(), st.sampled_from(Color), st.sampled_from(Level), st.just(Rights.READ | Rights.WRITE),
    st.builds(PurePosixPath, st.just("/a/b")), st.timezones().map(lambda zone: dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=zone)),
)  # fmt: skip
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Point, st.integers(), inner), st.builds(Frozen, st.text(), st.integers(), st.tuples(inner)),
        st.builds(Plain, inner, st.lists(inner)), st.builds(Slotted, inner), st.lists(inner),
        st.builds(Model, name=st.text(), when=st.dates(), extra=inner), st.dictionaries(st.sampled_from(Color), inner),
    ),
    max_leaves=8,
)  # fmt: skip


@given(OBJECTS, st.sampled_from(["orjson", "json"]), st.sampled_from(["orjson", "json"]))
def test_objects_come_back_equal_and_of_the_same_class(value: Any, writer: Any, reader: Any) -> None:
    found = TaggedJson(reader).decode(TaggedJson(writer).encode(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("engine", ["orjson", "json"])
def test_values_that_json_would_change_stay(engine: Any) -> None:
    codec = TaggedJson(engine)
    codec.trust(__name__)
    values = [
        2**63,
        -(2**200),
        0.1 + 0.2,
        -0.0,
        math.inf,
        "\ud800",
        "\x00é😀",
        {1: 2, "1": 3},
        {"$tuple": [1]},
        (),
        [()],
        b"\xff",
        True,
        1,
    ]
    found = codec.decode(codec.encode(values))
    assert found == values
    assert [type(each) for each in found] == [type(each) for each in values]
    assert math.copysign(1, found[3]) == -1
    assert math.isnan(codec.decode(codec.encode(math.nan)))
    zone = dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))
    again = codec.decode(codec.encode(zone))
    assert (again.fold, again.tzinfo, again.utcoffset()) == (1, zone.tzinfo, zone.utcoffset())


def test_a_model_keeps_what_was_set_and_its_extras() -> None:
    model = Model(name="n", when=dt.date(2026, 1, 2), more=[1, (2,)])  # type: ignore[call-arg]
    found = TaggedJson().decode(TaggedJson().encode(model))
    assert found == model
    assert found.model_fields_set == model.model_fields_set
    assert found.more == [1, (2,)]


def test_exceptions_keep_their_attributes_causes_and_notes() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            error = Odd(7, detail="why")
            error.add_note("a note")
            raise error from inner
    except Odd as raised:
        found = TaggedJson().decode(TaggedJson().encode(raised))
    assert (type(found), found.code, found.detail) == (Odd, 7, "why")
    assert isinstance(found.__cause__, KeyError)
    assert found.__notes__ == ["a note"]


class Unknown:
    pass


@pytest.mark.parametrize(
    ("value", "path"),
    [({"a": [1, Unknown()]}, ".a[1]"), (Plain(Unknown()), ".value"), ([{"k": (1, {2: open})}], "[0].k[1][2]"), ((x for x in ""), "")],
)  # fmt: skip
def test_what_cannot_be_restored_is_refused_with_its_path_and_a_remedy(value: Any, path: str) -> None:
    with pytest.raises(NotSerializable, match="Fix: ") as found:
        TaggedJson().encode(value)
    assert path in str(found.value)


HOSTILE = """
import json, sys
import tests.core.test_codec_classes as known
from replay.codec import TaggedJson
from replay.core.errors import Undecodable

codec, texts = TaggedJson(), json.load(sys.stdin)
codec.decode(b"[]")
seen = []
FORBIDDEN = ("import", "exec", "compile", "open", "os.", "subprocess", "socket", "pickle", "ctypes", "code.")
sys.addaudithook(lambda name, args: seen.append((name, str(args)[:80])) if name.startswith(FORBIDDEN) else None)
refused = 0
for text in texts:
    try:
        codec.decode(text.encode("utf-8", "surrogatepass"))
    except Undecodable:
        refused += 1
print(json.dumps([refused, seen]))
"""

ATTACKS = [
    {"$obj": ["os:system", {"command": "true"}]},
    {"$obj": ["subprocess:Popen", {"args": "true"}]},
    {"$obj": ["builtins:eval", {}]},
    {"$exc": ["antigravity:Error", ["x"], {}, None, None, [], ""]},
    {"$enum": ["tests.core.test_codec_classes:Unknown", "x"]},
    {"$namedtuple": ["collections:OrderedDict", [1]]},
    {"$obj": ["tests.core.test_codec_classes:Frozen.__init__.__globals__", {}]},
    {"$model": ["pydantic:BaseModel", {"__class__": 1}, None, None, []]},
    {"$custom": ["pathlib:Path", "/etc/passwd"]},
    {"$zone": "../../etc/passwd"},
    {"$datetime": [1, 2, 3]},
    {"$bytes": 3},
    {"$int": "9" * 10},
    {"$decimal": [[]]},
    {"$range": [[]]},
    {"$path": ["Posix", []]},
    {"$unknown": 1},
    {"$tuple": {"a": 1}},
]


def mutations() -> list[str]:
    """Real texts with each tag and each name exchanged for another, and cut short."""
    codec = TaggedJson()
    values = [
        Frozen("n", 1, (Color.RED,)),
        Point(1, {2}),
        Plain([b"x"]),
        Odd(3),
        Model(name="n", when=dt.date(2026, 1, 2)),
    ]
    texts = [codec.encode(value).decode() for value in values]
    names = [
        "os:system",
        "builtins:eval",
        "importlib:import_module",
        "nowhere.at_all:Thing",
        "tests.core.test_codec_classes:HOSTILE",
        "",
    ]
    found = [json.dumps(attack) for attack in ATTACKS]
    for text in texts:
        start = text.index('"tests.core')
        known = text[start + 1 : text.index('"', start + 1)]
        found += [text.replace(known, name) for name in names]
        found += [
            text.replace(tag, other)
            for tag in ("$obj", "$enum", "$exc")
            for other in ("$custom", "$model", "$flag", "$namedtuple")
        ]
        found += [text[:cut] for cut in range(1, len(text), 7)]
    return found


def test_hostile_text_imports_opens_and_runs_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE], input=json.dumps(mutations()), capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused, seen = json.loads(done.stdout)
    assert seen == []
    assert refused >= len(ATTACKS)


@pytest.mark.parametrize("value", [Color.RED, Frozen("a", 1, (Point(1),)), {1: {Slotted(2)}}, Plain([Rights.READ])])
def test_inspecting_shows_what_is_known_as_it_is_and_what_is_not_in_its_place(value: Any) -> None:
    codec = TaggedJson()
    text = codec.encode([value, 1])
    assert codec.inspect(text) == [value, 1]
    seen, one = codec.inspect(text.replace(b"test_codec_classes:", b"gone:"))
    assert one == 1
    assert "gone:" in repr(seen)
    with pytest.raises(NotSerializable, match="not known here"):
        codec.encode([seen])


def test_inspecting_damaged_values_hides_nothing_else() -> None:
    codec = TaggedJson()
    text = b'[{"$uuid":"?"},{"$newer":[1]},{"$obj":[]},{"$tuple":[1,{"$enum":["a:B","C"]}]},{"a":{"$decimal":3}}]'
    uuid, newer, damaged, (one, enum_), inner = codec.inspect(text)
    found = [(each.type_name, each.fields) for each in (uuid, newer, damaged, enum_, inner["a"])]
    assert found == [("$uuid", "?"), ("$newer", [1]), ("$obj", []), ("a:B", "C"), ("$decimal", 3)]
    assert one == 1
    with pytest.raises(Undecodable):
        codec.inspect(b"?")


# --- classes that no other process can find are refused when they are written ----------------------------------------

codec = TaggedJson()
codec.trust(__name__)


class Redefined:
    x: int


Former = attrs.frozen(Redefined)


@attrs.frozen
class Redefined:  # type: ignore[no-redef]
    y: int


T = TypeVar("T")


class Sheet(pydantic.BaseModel, Generic[T]):
    rows: list[T]


class Left:
    class Item(pydantic.BaseModel):
        x: int


class Right:
    class Item(pydantic.BaseModel):
        y: int


@pytest.mark.parametrize(
    "make",
    [
        lambda: collections.namedtuple("Pair", "x y")(1, 2),  # noqa: PYI024
        lambda: dataclasses.make_dataclass("Row", ["x"])(1),
        lambda: enum.Enum("Colour", "RED BLUE").RED,  # type: ignore[attr-defined]
        lambda: attrs.make_class("Cell", ["x"])(1),
        lambda: pydantic.create_model("Dynamic", x=(int, 1))(),
        lambda: Former(1),  # type: ignore[call-arg]
    ],
)
def test_an_instance_of_a_class_that_its_name_does_not_lead_to_is_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(NotSerializable, match=r"cannot be found by its name.*Fix: bind the class"):
        codec.encode([make()])


@pytest.mark.parametrize("engine", ["orjson", "json"])
def test_parametrized_models_come_back_as_their_own_class_whatever_their_arguments_are_called(engine: Any) -> None:
    codec = TaggedJson(engine)
    codec.trust(__name__)
    values = [
        Sheet[Left.Item](rows=[Left.Item(x=1)]),
        Sheet[Right.Item](rows=[Right.Item(y=2)]),
        Sheet[Sheet[int]](rows=[Sheet[int](rows=[3])]),
    ]
    back = [codec.decode(codec.encode(value)) for value in values]
    assert [type(each) for each in back] == [Sheet[Left.Item], Sheet[Right.Item], Sheet[Sheet[int]]]
    assert back == values


def test_a_parametrized_model_whose_argument_has_no_name_is_refused() -> None:
    with pytest.raises(NotSerializable, match=r"list\[int\].*Fix: make a subclass"):
        codec.encode(Sheet[list[int]](rows=[[1]]))


@pytest.mark.parametrize(
    "name", ["Sheet[", "Sheet[]", "Sheet[builtins:int,builtins:int]", "Frozen[builtins:int]", "Sheet[builtins:eval]"]
)
def test_a_damaged_name_of_a_parametrized_model_is_undecodable(name: str) -> None:
    with pytest.raises(Undecodable):
        codec.decode(json.dumps({"$model": [f"{__name__}:{name}", {"rows": []}, None, None, []]}).encode())


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]


@attrs.define(slots=False)
class Leaf(Generic[T]):
    value: T


def test_instances_of_parametrized_generics_are_stored() -> None:
    for value in (Page[int]([1]), Leaf[int](1)):
        assert codec.decode(codec.encode(value)) == value


@attrs.frozen(cache_hash=True, slots=False)
class Hashed:
    x: int


def test_a_cached_hash_is_computed_anew() -> None:
    value = Hashed(1)
    assert hash(codec.decode(codec.encode(value))) == hash(value)


@attrs.define
class Grown:
    a: int
    total: int = attrs.field(default=attrs.Factory(lambda self: self.a + self.c, takes_self=True))
    c: int = 0


def test_a_default_that_takes_the_object_sees_all_that_was_stored() -> None:
    assert codec.decode(json.dumps({"$obj": [f"{__name__}:Grown", {"a": 1, "c": 2}]}).encode()) == Grown(1, 3, 2)


class Changed(NamedTuple):
    a: int
    c: int = 9


def test_a_named_tuple_that_lost_a_field_is_undecodable_and_one_that_gained_a_default_is_not() -> None:
    name = f"{__name__}:Changed"
    with pytest.raises(Undecodable, match="has no field 'b' any more"):
        codec.decode(json.dumps({"$namedtuple": [name, [1, 2], ["a", "b"]]}).encode())
    assert codec.decode(json.dumps({"$namedtuple": [name, [1], ["a"]]}).encode()) == Changed(1, 9)
    assert codec.decode(json.dumps({"$namedtuple": [name, [2, 1], ["c", "a"]]}).encode()) == Changed(1, 2)
    assert codec.decode(json.dumps({"$namedtuple": [name, [1, 2]]}).encode()) == Changed(1, 2), "as 0.1 wrote it"


@pytest.mark.parametrize("engine", ["orjson", "json"])
def test_surrogate_pairs_stay_two_code_points_and_keys_that_differ_stay_two(engine: Any) -> None:
    codec = TaggedJson(engine)
    pair, smile = "\ud83d\ude00", "\U0001f600"
    for value in (pair, [pair, "\ud83d", smile], {pair: 1, smile: 2}, {"a": {pair: pair}}, {"$x": pair}):
        assert codec.decode(codec.encode(value)) == value


def raised(how: str) -> BaseException:
    try:
        try:
            raise KeyError("first")
        except KeyError as first:
            if how == "implicit":
                raise ValueError("second")  # noqa: B904
            raise ValueError("second") from (first if how == "explicit" else None)
    except ValueError as error:
        return error


@pytest.mark.parametrize("how", ["implicit", "explicit", "suppressed"])
def test_an_exception_keeps_its_context_and_whether_it_is_shown(how: str) -> None:
    error, back = raised(how), codec.decode(codec.encode(raised(how)))
    for name in ("__cause__", "__context__", "__suppress_context__"):
        assert repr(getattr(back, name)) == repr(getattr(error, name)), name


def test_an_exception_of_a_class_that_cannot_be_found_is_remote_at_once() -> None:
    back = codec.decode(codec.encode(type("Frozen", (Exception,), {"__module__": __name__})("why")))
    assert type(back) is RemoteError, "not its namesake, and the same in this process as in others"
    assert "why" in str(back)
