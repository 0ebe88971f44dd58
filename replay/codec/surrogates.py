"""Texts with surrogate pairs: a JSON parser joins the two code points, so they are written apart."""

from __future__ import annotations

import re
from typing import Any

_PAIR = re.compile("(?<=[\ud800-\udbff])(?=[\udc00-\udfff])")
"""Between the two code points of a pair."""


def apart(plain: Any) -> Any:
    """Return plain data whose texts survive JSON: a text with a pair becomes `{"$text": [...]}`, a list of its parts."""
    cls = type(plain)
    if cls is str:
        parts = _PAIR.split(plain)
        return plain if len(parts) == 1 else {"$text": parts}
    if cls is list:
        return [apart(item) for item in plain]
    if cls is not dict:
        return plain
    if any(_PAIR.search(key) for key in plain):
        return {"$dict": [[apart(key), apart(item)] for key, item in plain.items()]}
    return {key: apart(item) for key, item in plain.items()}
