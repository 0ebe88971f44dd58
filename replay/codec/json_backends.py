"""The two JSON engines: orjson when it is installed, the standard library's otherwise; each reads what the other wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import attrs

from replay.core.errors import Undecodable

try:
    import orjson
except ImportError:  # the extra `fast` is not installed
    orjson = None  # type: ignore[assignment]

EngineName = Literal["orjson", "json"]


@attrs.frozen
class Engine:
    """Plain data to text and back. `loads` raises ValueError or RecursionError for what is not JSON text."""

    name: EngineName
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def choose(name: EngineName | None) -> Engine:
    """Return the engine called *name*, the fastest installed one for None.

    Raises:
        ValueError: There is no such engine, or it is not installed.
    """
    if name not in (None, "orjson", "json"):
        raise ValueError(f"engine is 'orjson', 'json' or None, not {name!r}")
    if name == "orjson" and orjson is None:
        raise ValueError("engine='orjson' needs orjson. Fix: pip install 'replay-engine[fast]'")
    if orjson is None or name == "json":
        return Engine("json", standard_dumps, standard_loads)
    return Engine("orjson", orjson.dumps, orjson.loads)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


# Escaping all but ASCII is what lets lone surrogates through; NaN never gets here, the walk has tagged it.
_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False)
_decoder = json.JSONDecoder(parse_constant=_no_constant)


def standard_dumps(plain: Any) -> bytes:
    """Return *plain* as JSON text, by the standard library: it also writes lone surrogates and any depth we allow."""
    return _encoder.encode(plain).encode("ascii")


def standard_loads(data: bytes) -> Any:
    """Return what *data* says, by the standard library: strictly UTF-8, without `NaN` and `Infinity`."""
    return _decoder.decode(data.decode("utf-8"))


def parse(engine: Engine, data: bytes) -> Any:
    """Return what *data* says; what orjson refuses (lone surrogates) is read by the standard library.

    Raises:
        Undecodable: It is not JSON text.
    """
    try:
        return engine.loads(data)
    except (ValueError, RecursionError) as error:
        reason: Exception = error
    if engine.name != "json":
        try:
            return standard_loads(data)
        except (ValueError, RecursionError) as error:
            reason = error
    raise Undecodable(
        f"not JSON text: {bytes(data[:60])!r} ({str(reason)[:200]}). Fix: restore the stored text, it was damaged outside replay"
    ) from reason
