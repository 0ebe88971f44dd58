"""Rules for state that escapes an execution (RW301-RW305): repeated clean-up, shared state, swallowed `Cancelled`."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from replay.lint.flow import Flow
from replay.lint.hidden import Hit
from replay.lint.source import Binding, Scope

_CONTAINERS = {
    *(f"builtins.{name}" for name in ("list", "dict", "set", "bytearray")),
    *(f"collections.{name}" for name in ("deque", "defaultdict", "Counter", "OrderedDict")),
}
_CONTAINER_NOTES = {
    "list",
    "dict",
    "set",
    "deque",
    "defaultdict",
    "Counter",
    "MutableMapping",
    "MutableSequence",
    "MutableSet",
}
_MUTATORS = frozenset(
    {
        *("append", "appendleft", "extend", "extendleft", "insert", "add", "discard", "update", "setdefault", "remove"),
        *("pop", "popleft", "popitem", "clear", "sort", "reverse", "rotate"),
    }
)
_READERS = {
    "get",
    "items",
    "keys",
    "values",
    "copy",
    "index",
    "count",
    "format",
    "join",
    "strip",
    "split",
    "lower",
    "upper",
}
_LOGGING = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_PURE_MODULES = {
    "math",
    "json",
    "decimal",
    "fractions",
    "itertools",
    "functools",
    "collections",
    "operator",
    "copy",
    "re",
} | {
    *("typing", "attrs", "attr", "dataclasses", "enum", "datetime", "logging", "replay", "hashlib", "contextlib"),
}
_HARMLESS_MANAGERS = {
    "contextlib.suppress",
    "contextlib.nullcontext",
    "decimal.localcontext",
    "warnings.catch_warnings",
}
_CANCELLED = {"replay.Cancelled", "replay.core.errors.Cancelled", "builtins.BaseException", "builtins.GeneratorExit"}


def check(flow: Flow) -> Iterator[Hit]:
    """Find effects in clean-up, state shared between executions, and handlers that swallow a cancellation."""
    yield from _defaults(flow)
    for node in flow.nodes():
        if isinstance(node, ast.Try | ast.TryStar):
            yield from _try(flow, node)
        elif isinstance(node, ast.With):
            yield from _with(flow, node)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete):
            yield from _assigned(flow, node)
        elif isinstance(node, ast.Call):
            yield from _mutating_call(flow, node)


# --- clean-up ---------------------------------------------------------------------------------------------------


def _try(flow: Flow, node: ast.Try | ast.TryStar) -> Iterator[Hit]:
    if flow.yields_in(node.body):
        for handler in node.handlers:
            if _catches_cancelled(flow, handler.type) and not _raises(handler):
                caught = ast.unparse(handler.type) if handler.type else ""
                yield "RW305", handler, f"{f'except {caught}'.strip()} around a yield does not raise again"
    if flow.yields_in([*node.body, *node.handlers, *node.orelse]):
        yield from _finally(flow, node.finalbody)


def _catches_cancelled(flow: Flow, caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(_catches_cancelled(flow, each) for each in caught.elts)
    return caught is None or flow.source.resolve(caught) in _CANCELLED


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for statement in handler.body for node in ast.walk(statement))


def _finally(flow: Flow, body: list[ast.stmt]) -> Iterator[Hit]:
    yielded = flow.yields_in(body)
    for each in yielded:
        yield "RW301", each, "a command is yielded in finally"
    inside = {child for each in yielded for child in ast.walk(each)}
    for node in flow.nodes_in(body):
        if isinstance(node, ast.Return):
            yield "RW305", node, "return in finally swallows every exception"
        elif isinstance(node, ast.Break | ast.Continue) and not _loops_inside(flow, node, body):
            yield "RW305", node, f"{type(node).__name__.lower()} in finally swallows every exception"
        elif isinstance(node, ast.Call) and node not in inside and _has_effect(flow, node):
            yield "RW302", node, f"{ast.unparse(node.func)}() is called in finally"


def _loops_inside(flow: Flow, node: ast.AST, body: list[ast.stmt]) -> bool:
    for around in flow.source.up(node):
        if node in body:
            return False
        if isinstance(around, ast.For | ast.While):
            return True
        node = around
    return False


def _has_effect(flow: Flow, node: ast.Call) -> bool:
    """Return whether a call may have an outside effect. Unknown calls may; calls on values built here may not."""
    if flow.is_command(node):
        return False  # building a command has no effect; RW201 reports it
    function = node.func
    name = flow.source.resolve(function)
    if name is not None:
        return name in ("builtins.open", "builtins.input", "builtins.exec", "builtins.eval") or not (
            name.startswith("builtins.")
            or name.split(".")[0] in _PURE_MODULES
            or name[name.rfind(".") + 1 :][:1].isupper()
        )
    if isinstance(function, ast.Attribute):
        base = function.value
        return not (
            function.attr in _MUTATORS | _READERS | _LOGGING
            or flow.is_context(base)
            or (isinstance(base, ast.Attribute) and flow.is_context(base.value))  # ctx.log.info(...)
        )
    return flow.source.function_of(function) is not None


def _with(flow: Flow, node: ast.With) -> Iterator[Hit]:
    if not flow.yields_in(node.body):
        return
    for item in node.items:
        manager = item.context_expr
        name = flow.source.resolve(manager.func) if isinstance(manager, ast.Call) else None
        if name == "contextlib.suppress" and isinstance(manager, ast.Call):
            if any(_catches_cancelled(flow, each) for each in manager.args):
                yield "RW305", manager, "contextlib.suppress swallows Cancelled around a yield"
        elif name not in _HARMLESS_MANAGERS:
            yield "RW302", manager, f"with {ast.unparse(manager)} stands around a yield"


# --- shared state --------------------------------------------------------------------------------------------------


def _defaults(flow: Flow) -> Iterator[Hit]:
    arguments = flow.code.args
    for default in (*arguments.defaults, *arguments.kw_defaults):
        if default is not None and _is_container(flow, default):
            yield "RW304", default, f"the default {ast.unparse(default)} is shared by all executions"


def _is_container(flow: Flow, node: ast.expr) -> bool:
    if isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and flow.source.resolve(node.func) in _CONTAINERS


def _assigned(flow: Flow, node: ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete) -> Iterator[Hit]:
    targets = node.targets if isinstance(node, ast.Assign | ast.Delete) else [node.target]
    for target in targets:
        for each in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
            shared = isinstance(each, ast.Attribute | ast.Subscript) and _outer(flow, each) is not None
            if shared or _declared(flow, each):
                yield "RW303", each, f"{ast.unparse(each)} is changed, which other executions share"


def _declared(flow: Flow, node: ast.AST) -> bool:
    """Return whether an assignment to a plain name changes an outer scope (`nonlocal`, `global`)."""
    if not isinstance(node, ast.Name) or node.id not in flow.source.scope_of(node).outer:
        return False
    found = flow.source.scope_of(node).lookup(node.id)
    return found is None or not flow.is_own(found[0])


def _outer(flow: Flow, node: ast.AST) -> tuple[Scope, Binding] | None:
    """Return the binding of `a` in `a.b[c].d` if it is bound outside of the execution, None otherwise."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    found = flow.source.scope_of(node).lookup(node.id)
    return found if found is not None and not flow.is_own(found[0]) else None


def _mutating_call(flow: Flow, node: ast.Call) -> Iterator[Hit]:
    if flow.source.resolve(node.func) == "builtins.next" and node.args:
        found = _outer(flow, node.args[0])
        if found is not None and found[1].values:
            yield "RW303", node, f"next({ast.unparse(node.args[0])}) advances what other executions share"
    elif isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
        found = _outer(flow, node.func.value)
        if found is not None and _holds_container(flow, found[1], node.func.value):
            yield "RW303", node, f"{ast.unparse(node.func)}() changes what other executions share"


def _holds_container(flow: Flow, binding: Binding, node: ast.expr) -> bool:
    """Return whether a name surely refers to a container or to a member of one."""
    if isinstance(node, ast.Attribute):
        return False
    note = binding.annotation.value if isinstance(binding.annotation, ast.Subscript) else binding.annotation
    if note is not None and ast.unparse(note).split(".")[-1] in _CONTAINER_NOTES:
        return True
    return any(_is_container(flow, value) for value in binding.values)
