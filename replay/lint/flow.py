"""Workflow code of a file: the decorated functions, their helpers, and the name of the context in each.

Step bodies are not workflow code: functions passed to `ctx.step`, `ctx.map` or `.down`, and matchers of branches.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import TypeAlias

import attrs

from replay.lint.source import Binding, Function, Scope, Source, is_generator

Code: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

COMMANDS = frozenset(
    {
        "step",
        "sleep",
        "sleep_until",
        "wait_for_signal",
        "switch",
        "rollback",
        "emit",
        "start",
        "child",
        "wait_for_execution",
        "all",
        "map",
        "race",
        "note",
    }
)
CHAINED = frozenset({"retry", "timeout", "down", "at_most_once", "settled"})
_WORKFLOW = ("replay.workflow", "replay.definition.workflow")
_CONTEXT = ("replay.Context", "replay.core.context.Context")
_BRANCH = ("replay.Branch", "replay.core.commands.Branch")


@attrs.define(eq=False)
class Flow:
    """One function of workflow code, with the workflow that calls it.

    Attributes:
        source: Its file.
        code: The function, or the lambda of a branch.
        workflow: Name of the workflow function.
        root: The outermost function of workflow code around this one. Its names belong to one execution.
        contexts: Scopes and names of the parameters that hold the context.
    """

    source: Source
    code: Code
    workflow: str
    root: Scope
    contexts: set[tuple[Scope, str]]

    @property
    def is_workflow(self) -> bool:
        """Return whether this is the workflow function itself."""
        return isinstance(self.code, Function) and self.code.name == self.workflow

    def nodes(self) -> Iterator[ast.AST]:
        """Yield the nodes that run as workflow code here, in order. Step bodies and inner functions are left out."""
        return self.nodes_in([self.code.body] if isinstance(self.code, ast.Lambda) else self.code.body)

    def nodes_in(self, nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
        """Yield the nodes at and below `nodes` that run as workflow code here."""
        found = [node for node in self._walk(list(nodes)) if hasattr(node, "lineno")]
        yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))  # type: ignore[attr-defined]

    def _walk(self, todo: list[ast.AST]) -> Iterator[ast.AST]:
        while todo:
            node = todo.pop()
            yield node
            if isinstance(node, ast.Lambda):
                if not self._runs_elsewhere(node):
                    todo.append(node.body)
            elif isinstance(node, ast.AnnAssign):
                todo.extend(child for child in (node.target, node.value) if child is not None)
            elif not isinstance(node, Function | ast.ClassDef):
                todo.extend(ast.iter_child_nodes(node))

    def _runs_elsewhere(self, node: ast.Lambda) -> bool:
        """Return whether a lambda is a step body, a matcher or a branch. A branch is a flow of its own."""
        around: ast.AST = self.source.parents[node]
        if isinstance(around, ast.keyword):
            around = self.source.parents[around]
        if not isinstance(around, ast.Call):
            return False
        return self.is_command(around) or self.is_branch(around)

    # --- the context and its commands -------------------------------------------------------------------------

    def is_context(self, node: ast.AST) -> bool:
        """Return whether an expression is the context."""
        if not isinstance(node, ast.Name):
            return False
        found = self.source.scope_of(node).lookup(node.id)
        if found is None:
            return False
        scope, binding = found
        return self._holds_context(scope, node.id, binding)

    def _is_context_annotation(self, binding: Binding) -> bool:
        note = binding.annotation
        if isinstance(note, ast.Constant):
            return note.value in ("Context", "replay.Context")
        return note is not None and self.source.resolve(note) in _CONTEXT

    def context_at(self, node: ast.AST) -> str | None:
        """Return the name of the context where *node* stands, None if it has none there."""
        scope: Scope | None = self.source.scope_of(node)
        seen: set[str] = set()
        while scope is not None:
            for name, binding in scope.names.items():
                if name not in seen and self._holds_context(scope, name, binding):
                    return name
            seen |= {*scope.names}
            scope = scope.parent
        return None

    def _holds_context(self, scope: Scope, name: str, binding: Binding) -> bool:
        if (scope, name) in self.contexts:
            return True
        return binding.is_parameter and (name == "ctx" or self._is_context_annotation(binding))

    def command(self, node: ast.AST | None) -> str | None:
        """Return the kind of command that an expression builds (`step`, with chained methods), None if it builds none."""
        while isinstance(node, ast.Call):
            kind = self.builder(node.func)
            if kind is not None or not isinstance(node.func, ast.Attribute) or node.func.attr not in CHAINED:
                return kind
            node = node.func.value
        return None

    def builder(self, node: ast.AST) -> str | None:
        """Return the kind of command that a function builds: `ctx.step`, or a name for it (`step = ctx.step`)."""
        if isinstance(node, ast.Name):
            found = self.source.scope_of(node).lookup(node.id)
            if found is None or len(found[1].values) != 1 or found[1].is_parameter or found[1].is_other:
                return None
            node = found[1].values[0]
        if isinstance(node, ast.Attribute) and node.attr in COMMANDS and self.is_context(node.value):
            return node.attr
        return None

    def is_command(self, node: ast.AST | None) -> bool:
        """Return whether an expression builds a command."""
        return self.command(node) is not None

    def is_branch(self, node: ast.AST) -> bool:
        """Return whether an expression builds a `Branch`."""
        return isinstance(node, ast.Call) and self.source.resolve(node.func) in _BRANCH

    def is_own(self, scope: Scope) -> bool:
        """Return whether the names of a scope belong to this execution alone."""
        return scope.within(self.root)

    def yields_in(self, nodes: Iterable[ast.AST]) -> list[ast.Yield | ast.YieldFrom]:
        """Return the yields below `nodes` that are this function's own."""
        return [node for node in self._walk(list(nodes)) if isinstance(node, ast.Yield | ast.YieldFrom)]

    def built(self) -> Iterator[tuple[str, ast.Call]]:
        """Yield each command built here: its kind, and the innermost call (`ctx.step(...)` without its chain)."""
        for node in self.nodes():
            if isinstance(node, ast.Call) and (kind := self.builder(node.func)) is not None:
                yield kind, node

    # --- helpers and branches -------------------------------------------------------------------------------------

    def delegates(self) -> Iterator[tuple[Code, ast.Call | None]]:
        """Yield the functions of this file that run as part of this one: called helpers and branches."""
        for node in self.nodes():
            if isinstance(node, ast.Call):
                called = self.source.function_of(node.func)
                if called is not None:
                    yield called, node
                for run in self._branch_code(node):
                    yield run, None

    def _branch_code(self, node: ast.Call) -> Iterator[Code]:
        if self.is_branch(node):
            positional, keyword = 2, "run"
        elif self.command(node) == "switch":
            positional, keyword = 3, "default"
        else:
            return
        given = [*node.args[positional : positional + 1], *(k.value for k in node.keywords if k.arg == keyword)]
        for value in given:
            inside = [value, *value.args] if isinstance(value, ast.Call) else [value]  # functools.partial(helper, ctx)
            for each in inside:
                found = each if isinstance(each, ast.Lambda) else self.source.function_of(each)
                if found is not None:
                    yield found


def workflow_functions(source: Source) -> list[Function]:
    """Return the functions of a file that are decorated with `workflow` or passed to it."""
    decorated = [f for f in source.functions if any(_is_decorator(source, each) for each in f.decorator_list)]
    passed = [
        source.function_of(argument)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and _is_decorator(source, node.func)
        for argument in node.args[:1]
    ]
    found = {function: None for function in (*decorated, *passed) if function is not None}
    return sorted(found, key=lambda function: function.lineno)


def _is_decorator(source: Source, node: ast.expr) -> bool:
    return source.resolve(node.func if isinstance(node, ast.Call) else node) in _WORKFLOW


def flows(source: Source, function: Function, helper_of: str | None = None) -> list[Flow]:
    """Return the flows of a workflow function and, recursively, of its helpers in the file.

    With *helper_of* the function is a helper in another module of the workflow of this name. A plain helper takes no context,
    unless its parameter says so.
    """
    root = source.scopes[function]
    parameters = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)][:1]
    contexts = {(root, name) for name in parameters} if helper_of is None or is_generator(function) else set()
    todo = [Flow(source, function, helper_of or function.name, root, contexts)]
    done: dict[Code, Flow] = {}
    while todo:
        flow = todo.pop()
        if flow.code in done:
            done[flow.code].contexts |= flow.contexts
            continue
        done[flow.code] = flow
        for code, call in flow.delegates():
            scope = source.scopes[code]
            inherited = {(s, name) for s, name in flow.contexts if scope.within(s)}
            around = flow.root if scope.within(flow.root) else scope
            todo.append(
                Flow(source, code, flow.workflow, around, inherited | _passed_contexts(flow, code, scope, call))
            )
    return list(done.values())


def _passed_contexts(flow: Flow, code: Code, scope: Scope, call: ast.Call | None) -> set[tuple[Scope, str]]:
    if call is None:
        return set()
    names = [argument.arg for argument in (*code.args.posonlyargs, *code.args.args)]
    given = [(name, value) for name, value in zip(names, call.args, strict=False)]
    given += [(keyword.arg, keyword.value) for keyword in call.keywords if keyword.arg is not None]
    return {(scope, name) for name, value in given if flow.is_context(value)}
