"""Rules for what a workflow expects of step bodies and compensations (RW306, RW307)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from replay.lint.flow import Flow
from replay.lint.hidden import Hit
from replay.lint.source import Function, own_nodes

_MUTATORS = frozenset(
    {
        *("append", "extend", "insert", "add", "discard", "update", "setdefault", "remove", "pop", "popitem", "clear"),
        *("sort", "reverse"),
    }
)


def check(flow: Flow) -> Iterator[Hit]:
    """Find bodies that change an argument which the workflow reads later, and compensations registered too late."""
    for kind, command in flow.built():
        if kind == "step":
            yield from _changed_arguments(flow, command)
            yield from _late_undo(flow, command)


# --- arguments that a body changes -----------------------------------------------------------------------------


def _changed_arguments(flow: Flow, command: ast.Call) -> Iterator[Hit]:
    body = flow.source.function_of(command.args[1]) if len(command.args) > 1 else None
    if body is None:
        return
    parameters = [each.arg for each in (*body.args.posonlyargs, *body.args.args)]
    for parameter, value in zip(parameters, command.args[2:], strict=False):
        if (
            isinstance(value, ast.Name)
            and _changes(body, parameter)
            and not _returns(body, parameter)
            and _is_read_after(flow, value, command)
        ):
            yield (
                "RW306",
                value,
                f"{body.name}() changes its copy of {value.id!r}, and the workflow reads its own later",
            )


def _changes(body: Function, name: str) -> bool:
    for node in own_nodes(body):
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store):
            return False  # the parameter is bound to something else
    return any(_is_change(node, name) for node in own_nodes(body))


def _is_change(node: ast.AST, name: str) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr=attr, value=ast.Name(id=found))):
            return found == name and attr in _MUTATORS
        case (
            ast.Subscript(value=ast.Name(id=found), ctx=ast.Store() | ast.Del())
            | ast.Attribute(value=ast.Name(id=found), ctx=ast.Store() | ast.Del())
        ):
            return found == name
        case _:
            return False


def _returns(body: Function, name: str) -> bool:
    returned = (node.value for node in own_nodes(body) if isinstance(node, ast.Return) and node.value is not None)
    return any(isinstance(each, ast.Name) and each.id == name for value in returned for each in ast.walk(value))


def _is_read_after(flow: Flow, value: ast.Name, command: ast.Call) -> bool:
    """Return whether a name is read in a later statement, before it is bound again."""
    end = max(getattr(each, "end_lineno", 0) or 0 for each in (command, *_statement(flow, command)))
    later = [node for node in flow.nodes() if isinstance(node, ast.Name) and node.id == value.id and node.lineno > end]
    if not later or isinstance(later[0].ctx, ast.Load):
        return bool(later)
    bound = list(_statement(flow, later[0]))[-1]  # cart = f(cart): the value is read before the name is bound
    return any(isinstance(node.ctx, ast.Load) for node in later if node in set(ast.walk(bound)))


def _statement(flow: Flow, node: ast.AST) -> Iterator[ast.AST]:
    for each in flow.source.up(node):
        yield each
        if isinstance(each, ast.stmt):
            return


# --- compensations registered too late ---------------------------------------------------------------------------


def _late_undo(flow: Flow, command: ast.Call) -> Iterator[Hit]:
    """Find a `.down(...)` that undoes another, earlier step, by the result of that step."""
    own = _targets(flow, command)
    for undo in _undos(flow, command):
        for name in sorted(_free_names(flow, undo) - own):
            found = flow.source.scope_of(command).lookup(name)
            if found is None or not flow.is_own(found[0]) or len(found[1].values) != 1 or found[1].is_other:
                continue
            earlier = _yielded_step(flow, found[1].values[0])
            if earlier is not None and earlier is not command and not list(_undos(flow, earlier)):
                yield "RW307", undo, f"it undoes the step that gave {name!r}, which ran before it was registered"


def _targets(flow: Flow, command: ast.Call) -> set[str]:
    for each in flow.source.up(command):
        if isinstance(each, ast.Assign):
            return {target.id for target in each.targets if isinstance(target, ast.Name)}
    return set()


def _undos(flow: Flow, command: ast.Call) -> Iterator[ast.expr]:
    """Yield the functions given to `.down(...)` in a command's chain."""
    node: ast.AST = command
    for around in flow.source.up(command):
        if isinstance(around, ast.Attribute) and around.value is node:
            node = around
        elif isinstance(around, ast.Call) and around.func is node:
            if isinstance(node, ast.Attribute) and node.attr == "down":
                yield from around.args
            node = around
        else:
            return


def _free_names(flow: Flow, undo: ast.expr) -> set[str]:
    """Return the outer names that an undo function reads: those of a lambda, a nested function or a `partial`."""
    if isinstance(undo, ast.Call):  # functools.partial(refund, charge_id)
        return {each.id for value in undo.args for each in ast.walk(value) if isinstance(each, ast.Name)}
    code = undo if isinstance(undo, ast.Lambda) else flow.source.function_of(undo)
    if code is None:
        return set()
    bound = {each.arg for each in (*code.args.posonlyargs, *code.args.args, *code.args.kwonlyargs)}
    return {each.id for node in own_nodes(code) for each in ast.walk(node) if isinstance(each, ast.Name)} - bound


def _yielded_step(flow: Flow, value: ast.expr) -> ast.Call | None:
    """Return the `ctx.step(...)` in `yield ctx.step(...).retry(3)`, None for other values."""
    inner = value.value if isinstance(value, ast.Yield | ast.YieldFrom) else None
    if flow.command(inner) != "step":
        return None
    while (
        isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and not flow.is_context(inner.func.value)
    ):
        inner = inner.func.value
    return inner if isinstance(inner, ast.Call) else None
