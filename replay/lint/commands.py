"""Rules for commands that never run, or run with wrong values (RW201-RW206)."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from replay.lint.flow import Flow
from replay.lint.hidden import Hit
from replay.lint.source import Function, is_generator

_KEEPERS = ("append", "appendleft", "extend", "insert", "add")
"""Methods that add to a container and return nothing."""


def check(flow: Flow) -> Iterator[Hit]:
    """Find commands without yield, yielded generators, repeated ids, and lambdas that see a loop's last value."""
    if flow.is_workflow:
        if isinstance(flow.code, ast.AsyncFunctionDef):
            yield "RW204", flow.code, f"workflow {flow.workflow} is async"
        elif not is_generator(flow.code):
            yield "RW205", flow.code, f"workflow {flow.workflow} never yields"
    yields = is_generator(flow.code)
    for node in flow.nodes():
        if isinstance(node, ast.Expr):
            yield from _dropped(flow, node.value)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            yield from _unused(flow, node)
        elif (
            isinstance(node, ast.Return)
            and yields
            and (flow.is_command(node.value) or _makes_generator(flow, node.value))
        ):
            yield "RW201", node, f"{_spoken(flow, node.value)} is returned, not yielded"
        elif isinstance(node, ast.Yield):
            yield from _yielded(flow, node)
    for kind, command in flow.built():
        if kind == "all":
            yield from _same_ids(flow, command)
        yield from _late_lambdas(flow, command)


def _spoken(flow: Flow, node: ast.AST | None) -> str:
    """Return the short text of a command or call: `ctx.step('ship')`, `helper(...)`."""
    command = _innermost(flow, node)
    if command is not None:
        id = _literal_id(flow, command)
        return f"{ast.unparse(command.func)}({'...' if id is None else repr(id)})"
    return f"{ast.unparse(node.func)}(...)" if isinstance(node, ast.Call) else "it"


def _innermost(flow: Flow, node: ast.AST | None) -> ast.Call | None:
    """Return the `ctx.step(...)` under its chained methods, None if the expression builds no command."""
    if not flow.is_command(node):
        return None
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not flow.is_context(node.func.value):
        node = node.func.value
    return node if isinstance(node, ast.Call) else None


def _literal_id(flow: Flow, node: ast.AST) -> str | None:
    command = _innermost(flow, node)
    first = command.args[0] if command is not None and command.args else None
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def _makes_generator(flow: Flow, node: ast.AST | None) -> bool:
    """Return whether an expression calls a generator function of this file."""
    if not isinstance(node, ast.Call):
        return False
    called = flow.source.function_of(node.func)
    return isinstance(called, ast.FunctionDef) and not _wraps(called) and is_generator(called)


def _wraps(function: Function) -> bool:
    """Return whether a decorator other than `workflow` wraps a generator function (`@contextmanager`, `@property`)."""
    names = [each.func if isinstance(each, ast.Call) else each for each in function.decorator_list]
    return any("workflow" not in ast.unparse(name) for name in names)


def _dropped(flow: Flow, node: ast.expr) -> Iterator[Hit]:
    command = _any_command(flow, node)
    if command is not None:
        yield "RW201", command, f"{_spoken(flow, command)} is built and never yielded"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _KEEPERS:
        yield from _kept(flow, node.func.value, node)
    elif _makes_generator(flow, node):
        yield "RW201", node, f"{_spoken(flow, node)} is a generator that is never run"
    elif _continues(flow, node):
        yield "RW201", node, "ctx.continue_as_new(...) does nothing until it is returned: write return in front of it"


def _kept(flow: Flow, holder: ast.expr, node: ast.Call) -> Iterator[Hit]:
    """Find commands that are added to a list which is never read."""
    command = next((found for each in node.args if (found := _any_command(flow, each)) is not None), None)
    if command is not None and isinstance(holder, ast.Name) and not _is_read(flow, holder.id):
        yield "RW201", command, f"{_spoken(flow, command)} is kept in {holder.id!r} and never yielded"


def _any_command(flow: Flow, node: ast.AST | None) -> ast.expr | None:
    """Return the command in an expression: itself, or the first in a list, display or comprehension."""
    match node:
        case ast.List(elts=members) | ast.Tuple(elts=members) | ast.Set(elts=members) | ast.Dict(values=members):
            return next((found for each in members if (found := _any_command(flow, each)) is not None), None)
        case ast.ListComp(elt=member) | ast.SetComp(elt=member) | ast.DictComp(value=member):
            return _any_command(flow, member)
        case ast.expr() if flow.is_command(node):
            return node
        case _:
            return None


def _continues(flow: Flow, node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else None
    return isinstance(called, ast.Attribute) and called.attr == "continue_as_new" and flow.is_context(called.value)


def _unused(flow: Flow, node: ast.Assign | ast.AnnAssign | ast.NamedExpr) -> Iterator[Hit]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    named = [target.id for target in targets if isinstance(target, ast.Name)]
    command = _any_command(flow, node.value)
    if len(named) < len(targets) or (command is None and not _makes_generator(flow, node.value)):
        return
    if not any(_is_read(flow, name) for name in named) and not isinstance(node, ast.NamedExpr):
        yield (
            "RW201",
            node,
            f"{_spoken(flow, command or node.value)} is kept in {' = '.join(named)!r} and never yielded",
        )


def _is_read(flow: Flow, name: str) -> bool:
    """Return whether a name is read, apart from adding to its container."""
    declared = flow.source.scopes[flow.code].outer
    loads = (each for each in ast.walk(flow.code) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load))
    return name in declared or any(each.id == name and not _puts_into(flow, each) for each in loads)


def _puts_into(flow: Flow, name: ast.Name) -> bool:
    around = [name, *flow.source.up(name)][1:4]
    match around:
        case [ast.Attribute(attr=attr), ast.Call(), ast.Expr()]:
            return attr in _KEEPERS
        case _:
            return False


def _yielded(flow: Flow, node: ast.Yield) -> Iterator[Hit]:
    value = node.value
    if isinstance(value, ast.GeneratorExp):
        yield "RW202", node, "a generator expression is yielded; collect commands with ctx.all(...)"
    elif _makes_generator(flow, value):
        yield "RW202", node, f"{_spoken(flow, value)} is a generator, and yielded"
    elif isinstance(value, ast.Name):
        found = flow.source.scope_of(value).lookup(value.id)
        made = [_makes_generator(flow, each) for each in found[1].values] if found else []
        if found and made and all(made) and not found[1].is_other:
            yield "RW202", node, f"{value.id} is a generator, and yielded"


def _same_ids(flow: Flow, command: ast.Call) -> Iterator[Hit]:
    members: list[ast.expr] = []
    for argument in command.args:
        members += argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument]
    seen: set[str] = set()
    for member in members:
        if flow.command(member) not in ("step", "child", "start"):
            continue
        id = _literal_id(flow, member)
        if id in seen:
            yield "RW203", member, f"two members of ctx.all have the id {id!r}"
        if id is not None:
            seen.add(id)


# --- late binding -------------------------------------------------------------------------------------------


def _late_lambdas(flow: Flow, command: ast.Call) -> Iterator[Hit]:
    """Find lambdas and nested functions over loop variables in a command that is yielded after the loop."""
    variables = loop_variables_at_yield(flow, command)
    if not variables:
        return
    for node in ast.walk(command):
        if isinstance(node, ast.Lambda):
            for name in sorted(free_names(node) & variables):
                yield "RW206", node, f"the lambda sees the last value of loop variable {name!r}"
        elif isinstance(node, ast.Name) and (nested := _nested(flow, node)) is not None:
            for name in sorted(free_names(nested) & variables):
                yield "RW206", node, f"{nested.name}() sees the last value of loop variable {name!r}"


def _nested(flow: Flow, node: ast.Name) -> Function | None:
    """Return the function nested in this workflow that a name refers to, None for others."""
    found = flow.source.scope_of(node).lookup(node.id)
    if found is None or not flow.is_own(found[0]) or not found[1].functions:
        return None
    return found[1].functions[-1]


def free_names(function: Function | ast.Lambda) -> set[str]:
    """Return the names that a function reads from around it. A default argument is its own."""
    arguments = function.args
    own = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    names = [each for each in ast.walk(function) if isinstance(each, ast.Name)]
    if not isinstance(function, ast.Lambda):
        own |= {each.id for each in names if isinstance(each.ctx, ast.Store)}
    defaults = {
        each for default in (*arguments.defaults, *arguments.kw_defaults) if default for each in ast.walk(default)
    }
    return {each.id for each in names if each not in defaults} - own


def loop_variables_at_yield(flow: Flow, command: ast.Call) -> set[str]:
    """Return the loop variables that change between a command and its yield. A loop that yields is not counted: it waits."""
    variables: set[str] = set()
    for node in flow.source.up(command):
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            variables |= {name for generator in node.generators for name in _names(generator.target)}
        elif isinstance(node, ast.For) and not flow.yields_in(list(node.body)):
            variables |= _names(node.target)
    return variables


def _names(target: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
