"""The two JSON backends: orjson if it is installed, else the standard library. Each reads the other's text."""

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

JsonBackendName = Literal["orjson", "json"]


@attrs.frozen
class JsonBackend:
    """Plain data to text and back. `loads` raises ValueError or RecursionError for text that is not JSON."""

    name: JsonBackendName
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


def choose(name: JsonBackendName | None) -> JsonBackend:
    """Return the backend called *name*; None: the fastest one that is installed.

    Raises:
        ValueError: There is no such backend, or it is not installed.
    """
    if name not in (None, "orjson", "json"):
        raise ValueError(f"engine is 'orjson', 'json' or None, not {name!r}")
    if name == "orjson" and orjson is None:
        raise ValueError("engine='orjson' needs orjson. Fix: pip install 'replay-engine[fast]'")
    if orjson is None or name == "json":
        return JsonBackend("json", _strict_dumps, standard_loads)
    return JsonBackend("orjson", orjson.dumps, orjson.loads)


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


# Escaping all but ASCII is what lets lone surrogates through; NaN never gets here, the walk has tagged it.
_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, allow_nan=False, check_circular=False)
_decoder = json.JSONDecoder(parse_constant=_no_constant)


def standard_dumps(plain: Any) -> bytes:
    """Return *plain* as JSON text, by the standard library. It writes lone surrogates and any allowed depth, too."""
    return _encoder.encode(plain).encode("ascii")


def _strict_dumps(plain: Any) -> bytes:
    """As `standard_dumps`, but refuse surrogates as orjson does: they need care."""
    text = _encoder.encode(plain)
    if "\\ud" in text:
        raise ValueError("perhaps a surrogate")
    return text.encode("ascii")


def standard_loads(data: bytes) -> Any:
    """Return the plain data of a text, by the standard library: strictly UTF-8, without `NaN` and `Infinity`."""
    return _decoder.decode(data.decode("utf-8"))


def parse(backend: JsonBackend, data: bytes) -> Any:
    """Return the plain data of a text. The standard library reads texts that orjson refuses (lone surrogates).

    Raises:
        Undecodable: *data* is not JSON text.
    """
    try:
        return backend.loads(data)
    except (ValueError, RecursionError) as error:
        reason: Exception = error
    if backend.name != "json":
        try:
            return standard_loads(data)
        except (ValueError, RecursionError) as error:
            reason = error
    raise Undecodable(
        f"not JSON text: {bytes(data[:60])!r} ({str(reason)[:200]}). Fix: restore the stored text, it was damaged outside replay"
    ) from reason
