"""Commands that a workflow's code builds, and the arms of each: the ways in which it may end."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import attrs

from replay.lint.flow import CHAINED, Flow
from replay.lint.scan import flows_of

PLAIN_ARMS = {
    "step": ("done", "failed"),
    "map": ("done", "failed"),
    "sleep": ("passed",),
    "sleep_until": ("passed",),
    "wait_for_signal": ("received",),
    "emit": ("done",),
    "note": ("done",),
    "start": ("started",),
    "child": ("completed", "failed"),
    "wait_for_execution": ("completed", "failed"),
}
"""Arms of the commands of each kind. Options of a command and the branches of a switch add more."""

CHAINED_ARMS = {"retry": "retried", "timeout": "timed out", "down": "undone"}
"""Arms that an option of a step adds."""

WAITS = ("wait_for_signal", "wait_for_execution")


@attrs.frozen
class Site:
    """Place in the code where a command is built.

    Attributes:
        path: The file.
        line: The line, counted from 1.
        last: Last line of the expression that the command is a part of. Its first is `first`.
        first: See `last`.
        kind: Name of the method of the context: `step`, `sleep`, ...
        name: Text of its id or signal.
        pattern: Regular expression of its ids.
        arms: Ways in which it may end.
    """

    path: str
    line: int
    first: int
    last: int
    kind: str
    name: str
    pattern: str
    arms: tuple[str, ...]


def sites_of(workflow: Any) -> list[Site]:
    """Return the places where a workflow builds commands, its helpers included, in the order of the code.

    Raises:
        OSError: Its source is not available.
    """
    found = {
        site: None
        for flow in flows_of(workflow)
        for kind, call in flow.built()
        if (site := _site(flow, kind, call)) is not None
    }
    return sorted(found, key=lambda site: (site.path, site.line, site.kind, site.name))


def _site(flow: Flow, kind: str, call: ast.Call) -> Site | None:
    arms = tuple(dict.fromkeys(_arms(flow, kind, call)))
    if not arms:
        return None
    whole: ast.AST = call
    for around in flow.source.up(call):
        if not isinstance(around, ast.expr | ast.keyword | ast.comprehension):
            break
        whole = around if isinstance(around, ast.expr) else whole
    id = _id(kind, call)
    first, last = getattr(whole, "lineno", 0), getattr(whole, "end_lineno", 0)
    return Site(flow.source.filename, call.lineno, first, last, kind, _name(kind, call), _pattern(id), arms)


def _arms(flow: Flow, kind: str, call: ast.Call) -> Iterator[str]:
    yield from PLAIN_ARMS.get(kind, ())
    if kind == "step":
        yield from (CHAINED_ARMS[name] for name in _chain(flow, call) if name in CHAINED_ARMS)
    elif kind in WAITS and (_keyword(call, "timeout") is not None or len(call.args) > (kind != "wait_for_signal") + 1):
        yield "timed out"
    elif kind == "race":
        yield from (f"won by {name}" for name in _members(call))
    elif kind == "switch":
        yield from (f"branch {name}" for name in _branches(flow, call))


def _chain(flow: Flow, call: ast.Call) -> Iterator[str]:
    """Yield the names of the methods chained to a command."""
    node: ast.AST = call
    for around in flow.source.up(call):
        if isinstance(around, ast.Attribute) and around.value is node and around.attr in CHAINED:
            yield around.attr
        elif not (isinstance(around, ast.Call) and around.func is node):
            return
        node = around


def _members(call: ast.Call) -> Iterator[str]:
    yield from (keyword.arg for keyword in call.keywords if keyword.arg is not None)
    for mapping in call.args:
        if isinstance(mapping, ast.Dict):
            yield from (str(key.value) for key in mapping.keys if isinstance(key, ast.Constant))


def _branches(flow: Flow, call: ast.Call) -> Iterator[str]:
    given = _argument(call, 2, "branches")
    if isinstance(given, ast.Name):
        found = flow.source.scope_of(given).lookup(given.id)
        given = found[1].values[0] if found is not None and len(found[1].values) == 1 else None
    for each in given.elts if isinstance(given, ast.List | ast.Tuple) else ():
        if isinstance(each, ast.Call) and flow.is_branch(each) and each.args and isinstance(each.args[0], ast.Constant):
            yield str(each.args[0].value)
    default = _argument(call, 3, "default")
    if default is not None and not (isinstance(default, ast.Call) and flow.is_branch(default)):
        yield "default"


def _id(kind: str, call: ast.Call) -> ast.expr | None:
    """Return the expression of a command's id, None if it has the default."""
    position = {"sleep": 1, "sleep_until": 1, "wait_for_signal": 2, "wait_for_execution": 3, "emit": 2}.get(kind, 0)
    return None if kind in ("note", "race") else _argument(call, position, "id")


def _pattern(id: ast.expr | None) -> str:
    match id:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".*" for p in parts)
        case _:
            return ".*"


def _name(kind: str, call: ast.Call) -> str:
    shown = call.args[0] if call.args and kind != "race" else None
    return "" if shown is None else " ".join(ast.unparse(shown).split())[:40]


def _argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    return call.args[position] if len(call.args) > position else _keyword(call, name)


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)
