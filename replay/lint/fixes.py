"""Certain corrections (`replay lint --fix`): those whose meaning the code leaves no doubt about."""

from __future__ import annotations

import ast
import codecs
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from replay.lint import commands
from replay.lint.flow import Flow
from replay.lint.rules import Edit, Finding, Position
from replay.lint.source import Function, is_generator


def fix_of(flow: Flow, code: str, node: ast.AST) -> tuple[Edit, ...]:
    """Return the edits that correct a finding; none where more than one correction is possible."""
    find = _FIXES.get(code)
    return tuple(find(flow, node) or ()) if find is not None else ()


def fix_text(text: bytes, findings: Sequence[Finding]) -> tuple[bytes, list[Finding]]:
    """Return a file's content with its *findings* corrected, and those that were.

    Of two that overlap the first is corrected. None is if the result were not Python.
    """
    fixed: list[Finding] = []
    edits: list[Edit] = []
    for finding in findings:
        if finding.edits and not any(_overlap(new, old) for new in finding.edits for old in edits):
            fixed.append(finding)
            edits += (edit for edit in finding.edits if edit not in edits)
    made = _made(text, edits)
    try:
        ast.parse(made)
    except SyntaxError:
        return text, []
    return made, fixed


def fix_files(findings: Iterable[Finding]) -> list[Finding]:
    """Correct the files of *findings*. Returns the findings that were corrected."""
    by_path: dict[str, list[Finding]] = {}
    for finding in findings:
        by_path.setdefault(finding.path, []).append(finding)
    fixed: list[Finding] = []
    for name, found in by_path.items():
        path = Path(name)
        text = path.read_bytes()
        made, done = fix_text(text, found)
        if made != text:
            path.write_bytes(made)
        fixed += done
    return fixed


def _overlap(one: Edit, other: Edit) -> bool:
    return one != other and max(one.start, other.start) < min(one.end, other.end)


def _made(text: bytes, edits: Iterable[Edit]) -> bytes:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    mark = len(codecs.BOM_UTF8) if text.startswith(codecs.BOM_UTF8) else 0

    def offset(position: Position) -> int:
        line, column = position
        return starts[line - 1] + column + (mark if line == 1 else 0)

    made, at = [], 0
    for edit in sorted(edits):
        made += [text[at : offset(edit.start)], edit.text.encode()]
        at = offset(edit.end)
    return b"".join([*made, text[at:]])


# --- one correction for each rule -------------------------------------------------------------------------------

Fix: TypeAlias = "list[Edit] | None"


def _clock(flow: Flow, node: ast.AST) -> Fix:
    """Read `ctx.now()` instead of `time.time()`, and instead of the present of an aware `datetime`."""
    context = flow.context_at(node)
    if not isinstance(node, ast.Call) or context is None:
        return None
    match flow.source.resolve(node.func), node:
        case "time.time", ast.Call(args=[], keywords=[]):
            return [_replace(node, f"{context}.now()")]
        case "datetime.datetime.now", ast.Call(func=ast.Attribute(value=cls), args=[zone], keywords=[]):
            return [_replace(node, f"{ast.unparse(cls)}.fromtimestamp({context}.now(), {ast.unparse(zone)})")]
        case _:
            return None


def _random(flow: Flow, node: ast.AST) -> Fix:
    """Draw from `ctx.random()`, which has the functions of `random` as methods."""
    context = flow.context_at(node)
    if not isinstance(node, ast.Call) or context is None:
        return None
    module, _, name = (flow.source.resolve(node.func) or "").rpartition(".")
    if module != "random" or name == "seed" or not name.islower() or not hasattr(random.Random, name):
        return None
    return [_replace(node.func, f"{context}.random().{name}")]


def _uuid(flow: Flow, node: ast.AST) -> Fix:
    context = flow.context_at(node)
    if not isinstance(node, ast.Call) or context is None or flow.source.resolve(node.func) != "uuid.uuid4":
        return None
    return [_replace(node, f"{context}.uuid()")]


def _sleep(flow: Flow, node: ast.AST) -> Fix:
    """Sleep durably where the call is a statement of a generator."""
    context = flow.context_at(node)
    statement = flow.source.parents.get(node)
    if not isinstance(node, ast.Call) or context is None or not isinstance(statement, ast.Expr):
        return None
    if flow.source.resolve(node.func) != "time.sleep" or not _yields(flow):
        return None
    return [_replace(node.func, f"yield {context}.sleep")]


def _unyielded(flow: Flow, node: ast.AST) -> Fix:
    """Yield a command that is dropped or returned, run a helper that is dropped, return a `continue_as_new` that ends its block."""
    if not _yields(flow):
        return None
    if isinstance(node, ast.Return) and node.value is not None:
        word = "yield" if flow.is_command(node.value) else "yield from"
        return [_insert(_start(node.value), f"({word} "), _insert(_end(node.value), ")")]
    statement = flow.source.parents.get(node)
    if not isinstance(node, ast.Call) or not isinstance(statement, ast.Expr):
        return None
    if flow.is_command(node):
        return [_insert(_start(node), "yield ")]
    if isinstance(node.func, ast.Attribute) and node.func.attr == "continue_as_new":
        return [_insert(_start(node), "return ")] if _ends_its_block(flow, statement) else None
    return [_insert(_start(node), "yield from ")]


def _yielded_generator(flow: Flow, node: ast.AST) -> Fix:
    if not isinstance(node, ast.Yield) or not isinstance(node.value, ast.Call | ast.Name):
        return None
    line, column = _start(node)
    return [_insert((line, column + len("yield")), " from")]


def _late_binding(flow: Flow, node: ast.AST) -> Fix:
    """Bind the loop variables as defaults of a lambda or nested function that is a body and nothing else."""
    command = flow.source.parents[node]
    code = node if isinstance(node, ast.Lambda) else flow.source.function_of(node)
    if not isinstance(command, ast.Call) or not isinstance(code, ast.Lambda | ast.FunctionDef):
        return None
    given = {"step": len(command.args) - 2, "map": 1}.get(flow.builder(command.func) or "", -1)
    parameters = code.args
    plain = ast.arguments(posonlyargs=[], args=parameters.args, kwonlyargs=[], kw_defaults=[], defaults=[])
    if ast.dump(parameters) != ast.dump(plain) or given != len(parameters.args) or command.keywords:
        return None
    if isinstance(node, ast.Name) and sum(_is_load(each, node.id) for each in ast.walk(flow.code)) > 1:
        return None
    names = sorted(commands.free_names(code) & commands.loop_variables_at_yield(flow, command))
    added = ", ".join(f"{name}={name}" for name in names)
    if parameters.args:
        return [_insert(_end(parameters.args[-1]), f", {added}")]
    line, column = _start(code)
    if isinstance(code, ast.Lambda):
        return [_insert((line, column + len("lambda")), f" {added}")]
    return [_insert((line, column + len(f"def {code.name}(".encode())), added)]


def _is_load(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)


_FIXES: Mapping[str, Callable[[Flow, ast.AST], Fix]] = {
    "RW101": _clock,
    "RW102": _random,
    "RW103": _uuid,
    "RW108": _sleep,
    "RW201": _unyielded,
    "RW202": _yielded_generator,
    "RW206": _late_binding,
}


def _yields(flow: Flow) -> bool:
    return isinstance(flow.code, Function) and is_generator(flow.code)


def _ends_its_block(flow: Flow, statement: ast.stmt) -> bool:
    around = flow.source.parents[statement]
    return any(getattr(around, field, [None])[-1:] == [statement] for field in ("body", "orelse"))


def _start(node: ast.AST) -> Position:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0)


def _end(node: ast.AST) -> Position:
    return getattr(node, "end_lineno", 1), getattr(node, "end_col_offset", 0)


def _replace(node: ast.AST, text: str) -> Edit:
    return Edit(_start(node), _end(node), text)


def _insert(at: Position, text: str) -> Edit:
    return Edit(at, at, text)
