"""Entry points of lint: check a text, a function with its helpers, a module, or a folder."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import linecache
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from replay.lint import bodies, commands, fixes, growth, hidden, order, state
from replay.lint.flow import Flow, flows, workflow_functions
from replay.lint.modules import Modules, is_installed
from replay.lint.rules import RULES, Finding
from replay.lint.source import Function, Source

_CHECKS = (hidden.check, order.check, commands.check, growth.check, state.check, bodies.check)


def lint_source(source: str, filename: str) -> list[Finding]:
    """Check the workflows in a text, with their helpers in the same text.

    Raises:
        SyntaxError: The text is not Python.
    """
    return _tidy(_scan(Source(source, filename), None))


def lint_function(fn: Any) -> list[Finding]:
    """Check a workflow (the decorated object or its function), with its helpers here and in other modules.

    Nothing is called: only source files are read.

    Raises:
        TypeError: The argument is neither a function nor a workflow.
        OSError: The source is not available.
    """
    return _tidy(finding for flow in flows_of(fn) for finding in _check(flow))


def lint_module(module_name_or_path: str) -> list[Finding]:
    """Check a file, all Python files below a folder, or a module by its dotted name, with helpers in other files.

    They are read. Only the parent packages of a dotted name are imported.

    Raises:
        FileNotFoundError: There is no such file or module.
        SyntaxError: A file is not Python.
    """
    modules = Modules()
    files = ((path, _text(path)) for path in _files(module_name_or_path))
    return _tidy(finding for path, text in files for finding in _scan(Source(text, str(path)), modules))


def _files(target: str) -> list[Path]:
    path = Path(target)
    if path.is_dir():
        files = path.rglob("*.py")
        return sorted(p for p in files if not any(part.startswith(".") for part in p.relative_to(path).parts))
    if path.is_file():
        return [path]
    try:
        found = None if path.suffix == ".py" or "/" in target else importlib.util.find_spec(target)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None:
        raise FileNotFoundError(f"{target!r} is neither a file, a folder, nor a module. Fix: give e.g. shop/orders.py")
    if found.submodule_search_locations:
        return [file for folder in found.submodule_search_locations for file in _files(folder)]
    if found.origin is None or not found.origin.endswith(".py"):
        raise FileNotFoundError(
            f"module {target!r} has no source file ({found.origin}). Fix: give the path of its source"
        )
    return [Path(found.origin)]


def _text(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as file:
        return file.read()


# --- one file ----------------------------------------------------------------------------------------


def _scan(source: Source, modules: Modules | None) -> Iterator[Finding]:
    """Check the workflows of a file; with *modules* also their helpers in other files."""
    for function in workflow_functions(source):
        todo: list[tuple[Source, Function, str | None]] = [(source, function, None)]
        seen: set[Function] = set()
        while todo:
            where, code, helper_of = todo.pop()
            if code in seen:
                continue
            seen.add(code)
            for flow in flows(where, code, helper_of):
                yield from _check(flow)
                if modules is not None:
                    todo += ((*found, flow.workflow) for found in modules.helpers(flow))


def _check(flow: Flow) -> Iterator[Finding]:
    for check in _CHECKS:
        for code, node, message in check(flow):
            if flow.source.is_allowed(code, node):
                continue
            line, column = _place(node)
            edits = fixes.fix_of(flow, code, node)
            yield Finding(code, message, RULES[code].remedy, flow.source.filename, line, column, flow.workflow, edits)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1


def _tidy(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings in file order, each place once: workflows may share helpers."""
    places = {(f.path, f.line, f.column, f.code): f for f in reversed(list(findings))}
    return [places[place] for place in sorted(places)]


# --- across modules ---------------------------------------------------------------------------------------


def _unwrapped(fn: Any) -> FunctionType:
    for _ in range(20):
        if isinstance(fn, FunctionType) and not hasattr(fn, "__wrapped__"):
            return fn
        inner = getattr(fn, "fn", None) or getattr(fn, "__wrapped__", None)
        if inner is None:
            break
        fn = inner
    raise TypeError(f"{fn!r} is not a function. Fix: pass the decorated workflow, or its function")


def _parsed_function(function: Callable[..., Any]) -> tuple[Source, Function]:
    filename = inspect.getsourcefile(function) or function.__code__.co_filename
    linecache.checkcache(filename)
    text = "".join(linecache.getlines(filename, getattr(function, "__globals__", None)))
    source = Source(text, filename)
    first = function.__code__.co_firstlineno
    for node in source.functions:
        start = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if node.name == function.__name__ and start <= first <= node.lineno:
            return source, node
    raise OSError(f"the source of {function.__qualname__} is not in {filename}. Fix: lint its file instead")


def flows_of(fn: Any) -> Iterator[Flow]:
    """Yield the flows of a workflow (the decorated object or its function), with its helpers here and in other modules.

    Raises:
        TypeError: The argument is neither a function nor a workflow.
        OSError: The source is not available.
    """
    function = _unwrapped(fn)
    parsed, node = _parsed_function(function)
    yield from _flows_across(parsed, node, function, set(), None)


def _flows_across(
    source: Source, node: Function, function: FunctionType, seen: set[Any], helper_of: str | None
) -> Iterator[Flow]:
    """Yield the flows of a function, with its helpers in other modules."""
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    for flow in flows(source, node, helper_of):
        yield flow
        for helper in _imported_helpers(flow, MappingProxyType(function.__globals__)):
            try:
                other, found = _parsed_function(helper)
            except (OSError, SyntaxError):
                continue
            yield from _flows_across(other, found, helper, seen, flow.workflow)


def _imported_helpers(flow: Flow, names: Mapping[str, Any]) -> Iterator[FunctionType]:
    """Yield the helpers of other modules that a flow calls: generators, and plain functions of one's own. None is called."""
    for node in flow.nodes():
        if not isinstance(node, ast.Call) or flow.is_command(node) or flow.source.function_of(node.func) is not None:
            continue
        found = _look_up(node.func, names) if _is_global(flow, node.func) else None
        try:
            helper = _unwrapped(found) if found is not None and not isinstance(found, type) else None
        except TypeError:
            continue
        if helper is None or helper.__module__.split(".")[0] == "replay":
            continue
        delegated = isinstance(flow.source.parents[node], ast.YieldFrom)
        if (delegated and inspect.isgeneratorfunction(helper)) or _is_own(helper):
            yield helper


def _is_global(flow: Flow, node: ast.expr) -> bool:
    """Return whether a called name, or the holder of a called attribute, is not bound in a function."""
    name = node.value if isinstance(node, ast.Attribute) else node
    found = flow.source.scope_of(name).lookup(name.id) if isinstance(name, ast.Name) else None
    return found is None or found[0] is flow.source.module


def _is_own(function: FunctionType) -> bool:
    """Return whether a function is the user's own: neither of the standard library nor of an installed package."""
    path = Path(function.__code__.co_filename)
    return path.suffix == ".py" and not is_installed(path)


def _look_up(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the object that `name` or `module.name` means in a module, None for others."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        holder = names.get(node.value.id)
        return getattr(holder, node.attr, None) if isinstance(holder, ModuleType) else None
    return None
