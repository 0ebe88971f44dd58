"""Rule for logs without bound (RW207): a loop that never ends and never continues as new."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from replay.lint.flow import Flow
from replay.lint.hidden import Hit


def check(flow: Flow) -> Iterator[Hit]:
    """Find endless loops that yield and that nothing leaves."""
    for node in flow.nodes():
        if isinstance(node, ast.While | ast.For) and _is_endless(flow, node):
            inside = list(flow.nodes_in(node.body))
            leaves = any(
                isinstance(each, ast.Return | ast.Raise)
                or (isinstance(each, ast.Break) and _loop_of(flow, each) is node)
                for each in inside
            )
            if flow.yields_in(node.body) and not leaves:
                yield "RW207", node, "the loop yields for ever, and its log grows with each round"


def _is_endless(flow: Flow, node: ast.While | ast.For) -> bool:
    if isinstance(node, ast.While):
        return isinstance(node.test, ast.Constant) and bool(node.test.value)
    called = node.iter.func if isinstance(node.iter, ast.Call) else None
    return called is not None and flow.source.resolve(called) in ("itertools.count", "itertools.cycle")


def _loop_of(flow: Flow, node: ast.AST) -> ast.AST | None:
    return next((each for each in flow.source.up(node) if isinstance(each, ast.For | ast.While)), None)
