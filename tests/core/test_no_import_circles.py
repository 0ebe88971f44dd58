"""No import circle among the modules of `replay`: imports in functions and for types count, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import replay

ROOT = Path(replay.__file__).parent
Graph = Mapping[str, set[str]]


def sources() -> dict[str, str]:
    """Return the text of each module by its name."""
    found = {}
    for path in [*ROOT.rglob("*.py"), *(ROOT / "backends").rglob("*.py")]:  # backends is a link in a checkout
        name = ".".join(("replay", *path.relative_to(ROOT).with_suffix("").parts))
        found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(module: str, text: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Yield the modules that *module* imports anywhere; a lazily exported name counts as its module."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in modules else str(node.module)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name


def graph_of(modules: Mapping[str, str]) -> Graph:
    return {name: {t for t in imports(name, text, modules) if t in modules} - {name} for name, text in modules.items()}


def circle_of(graph: Graph) -> list[str]:
    """Return the modules of one circle, none if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def packages_of(graph: Graph) -> Graph:
    """Return the graph of the packages directly below `replay`; `replay` itself exports what they hold."""
    found: dict[str, set[str]] = {}
    for module, targets in graph.items():
        package = package_of(module)
        if package != "replay":
            found.setdefault(package, set()).update(map(package_of, targets))
    return {package: targets - {package, "replay"} for package, targets in found.items()}


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


def test_no_module_imports_itself_through_others() -> None:
    graph = graph_of(sources())
    assert len(graph) > 150
    assert "replay.worker.worker" in graph
    assert circle_of(graph) == []


def test_no_package_imports_itself_through_others() -> None:
    assert circle_of(packages_of(graph_of(sources()))) == []


def test_a_circle_through_a_function_is_found() -> None:
    modules = {
        "replay.a": "from replay import b",
        "replay.b": "def f():\n    from replay.c.d import x",
        "replay.c.d": "if TYPE_CHECKING:\n    import replay.a",
    }
    assert set(circle_of(graph_of(modules))) == set(modules)
    assert set(circle_of(packages_of(graph_of(modules)))) == {"replay.a", "replay.b", "replay.c"}


def test_the_backends_are_part_of_the_graph() -> None:
    assert any(name.startswith("replay.backends.redis.") for name in sources())
