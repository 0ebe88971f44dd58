"""Rule for iteration in an order that differs between processes (RW109): sets and folder listings."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from replay.lint.flow import Flow
from replay.lint.hidden import Hit
from replay.lint.source import Binding

_SET_TYPES = ("builtins.set", "builtins.frozenset", "typing.Set", "typing.AbstractSet", "collections.abc.Set")
_SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
_LISTINGS = {"os.listdir", "os.scandir", "os.walk", "glob.glob", "glob.iglob"}
_PATH_LISTINGS = {"iterdir", "rglob"}
_KEEPS_ORDER = {
    f"builtins.{name}" for name in ("list", "tuple", "enumerate", "iter", "zip", "map", "filter", "reversed")
}
_LOSES_ORDER = {f"builtins.{name}" for name in ("sorted", "set", "frozenset", "len", "sum", "min", "max", "any", "all")}
_CHOOSING = ("builtins.sorted", "builtins.min", "builtins.max")
_TYING = {f"builtins.{name}" for name in ("len", "abs", "type", "bool", "int", "round")} | {
    f"builtins.str.{name}" for name in ("lower", "upper", "casefold", "strip")
}
"""Functions that give equal values for different elements."""
_IDENTITIES = {"id", "key", "name", "uuid", "code", "sku", "number", "email", "slug", "token", "value"}
"""Last words of attributes that tell objects apart."""


def check(flow: Flow) -> Iterator[Hit]:
    """Find places that depend on the order of a set or listing."""
    for node in flow.nodes():
        if isinstance(node, ast.Call):
            yield from _ties(flow, node)
        for iterated in _iterated(flow, node):
            what = unordered(flow, iterated)
            if what is not None and not _is_sorted_later(flow, node):
                yield "RW109", iterated, f"{what} is iterated in no particular order"


def _ties(flow: Flow, node: ast.Call) -> Iterator[Hit]:
    """Find `sorted`, `min` or `max` of a set with a key that may be equal for two elements."""
    key = next((each.value for each in node.keywords if each.arg == "key"), None)
    name = flow.source.resolve(node.func)
    if key is None or name not in _CHOOSING or len(node.args) != 1:
        return
    what = unordered(flow, node.args[0])
    if what is not None and _may_tie(flow, key):
        done = "sorted" if name == "builtins.sorted" else f"asked for its {name.removeprefix('builtins.')}"
        yield "RW111", node, f"{what} is {done} by {ast.unparse(key)}, which may be equal for two elements"


def _may_tie(flow: Flow, key: ast.expr) -> bool:
    if not isinstance(key, ast.Lambda):
        return flow.source.resolve(key) in _TYING
    parameter = key.args.args[0].arg if key.args.args else ""
    parts = key.body.elts if isinstance(key.body, ast.Tuple) else [key.body]
    return not any(_is_unique(flow, part, parameter) for part in parts)


def _is_unique(flow: Flow, part: ast.expr, parameter: str) -> bool:
    """Return whether a part of a key tells elements apart, as far as its text shows: the element, its text, its id."""
    match part:
        case ast.Name(id=name):
            return name == parameter
        case ast.Attribute(attr=attr):
            return attr.rpartition("_")[2] in _IDENTITIES
        case ast.Subscript(slice=ast.Constant(value=str() as text)):
            return text.rpartition("_")[2] in _IDENTITIES
        case ast.Call(func=func, args=[ast.Name(id=name)]):
            return name == parameter and flow.source.resolve(func) not in _TYING
        case ast.UnaryOp(operand=operand):
            return _is_unique(flow, operand, parameter)
        case _:
            return False


def _iterated(flow: Flow, node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions whose order a node passes on."""
    if isinstance(node, ast.For):
        yield node.iter
    elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
        yield from (generator.iter for generator in node.generators)
    elif (
        (isinstance(node, ast.Starred) and isinstance(node.ctx, ast.Load))
        or isinstance(node, ast.YieldFrom)
        or (isinstance(node, ast.Assign) and any(isinstance(target, ast.Tuple | ast.List) for target in node.targets))
    ):
        yield node.value
    elif isinstance(node, ast.Call):
        yield from _iterated_by_call(flow, node)


def _iterated_by_call(flow: Flow, node: ast.Call) -> Iterator[ast.expr]:
    if flow.source.resolve(node.func) in _KEEPS_ORDER or flow.command(node) in ("all", "map"):
        yield from node.args
    elif isinstance(node.func, ast.Attribute) and not node.args and node.func.attr == "pop":
        yield node.func.value
    elif isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "extend"):
        yield from node.args


def _is_sorted_later(flow: Flow, node: ast.AST) -> bool:
    """Return whether the iteration is an argument of a call that ignores order: `sorted(f(x) for x in s)`."""
    around = flow.source.parents[node]
    while isinstance(around, ast.Call | ast.GeneratorExp | ast.ListComp | ast.comprehension | ast.Starred):
        if isinstance(around, ast.Call):
            name = flow.source.resolve(around.func)
            if name in _LOSES_ORDER:
                return True
            if name not in _KEEPS_ORDER:
                return False
        around = flow.source.parents[around]
    return isinstance(around, ast.SetComp)


def unordered(flow: Flow, node: ast.AST, depth: int = 0) -> str | None:
    """Return the name of an unordered expression (a set, a listing), None for others."""
    if isinstance(node, ast.Set | ast.SetComp):
        return "a set"
    if isinstance(node, ast.BinOp) and isinstance(node.op, _SET_OPERATORS):
        sides = (node.left, node.right)
        return "a set" if any(unordered(flow, side, depth) or _is_keys(side) for side in sides) else None
    if isinstance(node, ast.IfExp):
        return unordered(flow, node.body, depth) or unordered(flow, node.orelse, depth)
    if isinstance(node, ast.Call):
        return _unordered_call(flow, node, depth)
    if isinstance(node, ast.Name) and depth < 5:
        found = flow.source.scope_of(node).lookup(node.id)
        return _unordered_name(flow, found[1], depth + 1) if found else None
    return None


def _unordered_call(flow: Flow, node: ast.Call, depth: int) -> str | None:
    name = flow.source.resolve(node.func)
    if name in _SET_TYPES:
        return "a set"
    if name == "builtins.dict.fromkeys" and node.args:
        return unordered(flow, node.args[0], depth)
    if name in _LISTINGS:
        return f"{name}()"
    if not isinstance(node.func, ast.Attribute):
        return None
    if node.func.attr in _PATH_LISTINGS:
        return f"Path.{node.func.attr}()"
    on_set = node.func.attr in _SET_METHODS or node.func.attr == "copy"
    return "a set" if on_set and unordered(flow, node.func.value, depth) else None


def _unordered_name(flow: Flow, binding: Binding, depth: int) -> str | None:
    note = binding.annotation
    if isinstance(note, ast.Subscript):
        note = note.value
    if note is not None and flow.source.resolve(note) in _SET_TYPES:
        return "a set"
    if binding.is_parameter or binding.is_other or not binding.values:
        return None
    kinds = [unordered(flow, value, depth) for value in binding.values]
    return kinds[0] if all(kinds) else None


def _is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")
