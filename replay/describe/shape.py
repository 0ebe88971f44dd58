"""The shape of a workflow: nodes, edges and unexplored code; as values, JSON and Mermaid."""

from __future__ import annotations

import re
from typing import Any

import attrs

START, END, FAILED, CANCELLED = "(start)", "(end)", "(failed)", "(cancelled)"
_ENDS = {END: "finish([end])", FAILED: "failed([failed])", CANCELLED: "cancelled([cancelled])"}


@attrs.frozen
class Node:
    """A command of a workflow. Durations are seconds; None: there is none, or it is known at run time only.

    Attributes:
        id: The id in the log when this command is first reached (`sleep#2`). Two places may share it.
        name: The id, or `id@line` if an earlier node has the same id. Unique; edges refer to it.
    """

    kind: str
    id: str
    name: str = ""
    at: str = ""
    signal: str | None = None
    timeout: float | None = None
    duration: float | None = None
    branches: tuple[str, ...] = ()
    has_compensation: bool = False
    workflow: str | None = None
    members: tuple[str, ...] = ()


@attrs.frozen
class Edge:
    """`target` may follow `source`, after `label` (an outcome; empty: its normal result)."""

    source: str
    target: str
    label: str = ""


@attrs.frozen
class Description:
    """A workflow's shape: `nodes` in the order of their first visits, `edges`, and the unexplored code."""

    workflow: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    unexplored: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Return the shape as plain data."""
        return attrs.asdict(self)

    def mermaid(self) -> str:
        """Return the shape as a Mermaid flowchart."""
        names = {START: "start", END: "finish", FAILED: "failed", CANCELLED: "cancelled"}
        reached = {edge.target for edge in self.edges} | {END}
        lines = ["flowchart TD", "    start([start])", *(f"    {box}" for end, box in _ENDS.items() if end in reached)]
        for number, node in enumerate(self.nodes):
            names[node.name] = f"n{number}"
            lines.append(f"    n{number}{_box(node)}")
        for edge in self.edges:
            arrow = f'-->|"{_text(edge.label)}"|' if edge.label else "-->"
            lines.append(f"    {names[edge.source]} {arrow} {names[edge.target]}")
        return "\n".join(lines) + "\n"


def _box(node: Node) -> str:
    label = _text(f"{node.kind}: {node.id}" + (" (undo)" if node.has_compensation else ""))
    match node.kind:
        case "switch":
            return f'{{"{label}"}}'
        case "signal" | "execution":
            return f'[/"{label}"/]'
        case "sleep":
            return f'(["{label}"])'
        case _:
            return f'["{label}"]'


def _text(text: str) -> str:
    return re.sub(r'["|<>{}\[\]`]', "'", " ".join(text.split()))
