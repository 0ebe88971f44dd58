"""Parsed source file: names, scopes, parents of nodes, and lines that may break a rule."""

from __future__ import annotations

import ast
import builtins
import io
import re
import tokenize
from collections.abc import Iterator
from typing import TypeAlias

import attrs

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
ScopeNode: TypeAlias = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_ALLOW = re.compile(r"#\s*replay:\s*ok\b((?:[\s,]*RW\d{3})*)", re.IGNORECASE)


@attrs.define
class Binding:
    """Values of one name in one scope."""

    imports: list[str] = attrs.field(factory=list)
    functions: list[Function] = attrs.field(factory=list)
    values: list[ast.expr] = attrs.field(factory=list)
    annotation: ast.expr | None = None
    is_parameter: bool = False
    is_other: bool = False
    """True if some binding hides the value: a loop, a pattern, an exception."""


@attrs.define(eq=False)
class Scope:
    """Lexical scope: a module, function or lambda, and the names bound in it."""

    node: ScopeNode
    parent: Scope | None
    names: dict[str, Binding] = attrs.field(factory=dict)
    outer: set[str] = attrs.field(factory=set)
    """Names declared `global` or `nonlocal` in this scope."""

    def bind(self, name: str) -> Binding:
        return self.names.setdefault(name, Binding())

    def lookup(self, name: str) -> tuple[Scope, Binding] | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and name not in scope.outer:
                return scope, scope.names[name]
            scope = scope.parent
        return None

    def within(self, other: Scope) -> bool:
        """Return whether this scope is `other` or nested in it."""
        scope: Scope | None = self
        while scope is not None and scope is not other:
            scope = scope.parent
        return scope is other


class Source:
    """One parsed file.

    Raises:
        SyntaxError: The file is not Python.
    """

    def __init__(self, text: str, filename: str) -> None:
        self.filename = filename
        self.tree = ast.parse(text, filename)
        self.allowed = dict(_allowances(text))
        self.parents: dict[ast.AST, ast.AST] = {}
        self.scopes: dict[ast.AST, Scope] = {}
        self.module = Scope(self.tree, None)
        self.functions: list[Function] = []
        _Binder(self).visit(self.tree)

    def scope_of(self, node: ast.AST) -> Scope:
        """Return the scope in which a name at `node` is looked up. For a function it is the function's own."""
        while node not in self.scopes:
            node = self.parents[node]
        return self.scopes[node]

    def resolve(self, node: ast.AST, depth: int = 0) -> str | None:
        """Return the dotted name of an imported or built-in object (`time.time`, `builtins.open`), None for others."""
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value, depth)
            return None if base is None else f"{base}.{node.attr}"
        if isinstance(node, ast.Call):
            return self._imported_here(node)
        if not isinstance(node, ast.Name):
            return None
        found = self.scope_of(node).lookup(node.id)
        if found is None:
            return f"builtins.{node.id}" if hasattr(builtins, node.id) else self._starred(node.id)
        binding = found[1]
        if binding.imports:
            return binding.imports[0]
        another_name = len(binding.values) == 1 and not binding.is_parameter and not binding.is_other and depth < 5
        return self.resolve(binding.values[0], depth + 1) if another_name else None

    def _imported_here(self, node: ast.Call) -> str | None:
        """Return the module named in `__import__("time")` or `import_module("time")`."""
        name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if not isinstance(name, str) or isinstance(node.func, ast.Call):
            return None
        return {"builtins.__import__": name.partition(".")[0], "importlib.import_module": name}.get(
            self.resolve(node.func) or ""
        )

    def _starred(self, name: str) -> str | None:
        return f"replay.{name}" if "*" in self.module.names and name in ("workflow", "Cancelled", "Context") else None

    def function_of(self, node: ast.AST) -> Function | None:
        """Return the function of this file that a name refers to, None for others."""
        if not isinstance(node, ast.Name):
            return None
        found = self.scope_of(node).lookup(node.id)
        return found[1].functions[-1] if found and found[1].functions else None

    def up(self, node: ast.AST) -> Iterator[ast.AST]:
        """Yield the parents of `node`, innermost first, up to its function."""
        while node in self.parents:
            node = self.parents[node]
            if isinstance(node, ScopeNode):
                return
            yield node

    def is_allowed(self, code: str, node: ast.AST) -> bool:
        """Return whether a `# replay: ok` on the lines of `node` allows a rule."""
        first = getattr(node, "lineno", 0)
        last = first if isinstance(node, ast.stmt) and hasattr(node, "body") else getattr(node, "end_lineno", first)
        codes = [self.allowed[line] for line in range(first, last + 1) if line in self.allowed]
        return any(not each or code in each for each in codes)


def _allowances(text: str) -> Iterator[tuple[int, frozenset[str]]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match = _ALLOW.search(token.string) if token.type == tokenize.COMMENT else None
        if match:
            yield token.start[0], frozenset(re.findall(r"RW\d{3}", match[1].upper()))


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run when a function runs. Inner functions and classes are left out."""
    todo: list[ast.AST] = (
        list(getattr(function, "body", [])) if not isinstance(function, ast.Lambda) else [function.body]
    )
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            todo.extend(ast.iter_child_nodes(node))


def is_generator(function: ast.AST) -> bool:
    """Return whether a function yields."""
    return any(isinstance(node, ast.Yield | ast.YieldFrom) for node in own_nodes(function))


class _Binder(ast.NodeVisitor):
    """Visitor that collects a source's parents, scopes and bindings in one walk."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.scope = source.module
        source.scopes[source.tree] = source.module

    def generic_visit(self, node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            self.source.parents[child] = node
            self.visit(child)

    def visit_FunctionDef(self, node: Function) -> None:
        self.scope.bind(node.name).functions.append(node)
        self.source.functions.append(node)
        self._enter(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._enter(node)

    def _enter(self, node: Function | ast.Lambda) -> None:
        outside, self.scope = self.scope, Scope(node, self.scope)
        self.source.scopes[node] = self.scope
        arguments = node.args
        for argument in (
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ):
            if argument is not None:
                binding = self.scope.bind(argument.arg)
                binding.is_parameter, binding.annotation = True, argument.annotation
        self.generic_visit(node)
        self.scope = outside

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.bind(node.name).is_other = True
        names, self.scope.names = (
            self.scope.names,
            {},
        )  # methods cannot see the class's own names: drop them
        self.generic_visit(node)
        self.scope.names = names

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            self.scope.bind(name).imports.append(alias.name if alias.asname else name)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            origin = f"{'.' * node.level}{node.module or ''}"
            target = self.source.module if alias.name == "*" and node.module == "replay" else self.scope
            dot = "" if origin.endswith(".") else "."  # from . import clocks
            target.bind(alias.asname or alias.name).imports.append(f"{origin}{dot}{alias.name}")
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self.scope.outer.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.visit_Global(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.scope.bind(target.id).values.append(node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            binding = self.scope.bind(node.target.id)
            binding.annotation = node.annotation
            if node.value is not None:
                binding.values.append(node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.scope.bind(node.target.id).values.append(node.value)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            return
        parent = self.source.parents.get(node)
        if not isinstance(parent, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            self.scope.bind(node.id).is_other = True

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.scope.bind(node.name).is_other = True
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs | ast.MatchStar) -> None:
        if node.name:
            self.scope.bind(node.name).is_other = True
        self.generic_visit(node)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.scope.bind(node.rest).is_other = True
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self.visit_MatchAs(node)
