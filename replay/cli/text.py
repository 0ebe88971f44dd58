"""Text from outside, made harmless: it neither steers a terminal nor forges a line."""

from __future__ import annotations

import json
from typing import Any


def safe(value: Any) -> str:
    """Return the value's text on one line, with control and direction characters escaped."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == " " else repr(c)[1:-1] for c in text)


def safe_lines(text: str, indent: str = "    ") -> str:
    """Return *text* with its lines kept. Those after the first begin with a blank, so that none looks like a line of its own."""
    first, *rest = text.split("\n")
    return "\n".join([safe(first), *(safe(line if line[:1] == " " else indent + line) for line in rest)])


def safe_json(value: Any) -> str:
    """Return JSON text on one line, readable, with control and direction characters and lone surrogates escaped."""
    return safe_json_text(json.dumps(value, ensure_ascii=False))


def safe_json_text(text: str) -> str:
    """Return a line of JSON, as `safe_json` writes it. Outside its strings there is nothing to escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == " " else json.dumps(c)[1:-1] for c in text)
