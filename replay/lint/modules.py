"""Modules beside a file, found by their names and read, never imported: helpers are followed into them."""

from __future__ import annotations

import ast
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from replay.lint.flow import Flow
from replay.lint.source import Function, Source, is_generator

_FOREIGN = frozenset({"replay"}) | sys.stdlib_module_names

_INSTALLED = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Folders of code that is not the user's own."""

_MOST_FOLDERS = 8
"""Folders looked at upwards of a file for a top-level package."""

_MOST_EXPORTS = 5
"""Longest chain of modules that import a function from one another."""


class Modules:
    """Source files of one check, read once each."""

    def __init__(self) -> None:
        self._sources: dict[Path, Source | None] = {}

    def helpers(self, flow: Flow) -> Iterator[tuple[Source, Function]]:
        """Yield the helpers in other files that a flow calls: generators that it delegates to, and plain functions."""
        for node in flow.nodes():
            if (
                not isinstance(node, ast.Call)
                or flow.is_command(node)
                or flow.source.function_of(node.func) is not None
            ):
                continue
            name = flow.source.resolve(node.func)
            found = self._function(name, Path(flow.source.filename)) if name is not None else None
            if found is None or isinstance(found[1], ast.AsyncFunctionDef):
                continue
            if isinstance(flow.source.parents[node], ast.YieldFrom) or not is_generator(found[1]):
                yield found

    def _function(self, name: str, file: Path, depth: int = 0) -> tuple[Source, Function] | None:
        """Return the function that a dotted name, used in *file*, refers to."""
        module, _, last = name.rpartition(".")
        source = self._module(module, file) if last.isidentifier() else None
        binding = source.module.names.get(last) if source is not None else None
        if source is None or binding is None:
            return None
        if binding.functions:
            return source, binding.functions[-1]
        if binding.imports and depth < _MOST_EXPORTS:
            return self._function(binding.imports[0], Path(source.filename), depth + 1)
        return None

    def _module(self, name: str, file: Path) -> Source | None:
        """Return the source of a module by its absolute or relative name, as *file* would import it."""
        level = len(name) - len(name.lstrip("."))
        parts = name[level:].split(".") if name[level:] else []
        above = [*file.absolute().parents]
        if level:
            folders = above[level - 1 : level]
        elif not parts or parts[0] in _FOREIGN:
            return None
        else:
            folders = above[:_MOST_FOLDERS]
        for folder in folders:
            for path in (folder.joinpath(*parts, "__init__.py"), folder.joinpath(*parts).with_suffix(".py")):
                if (parts or path.name == "__init__.py") and path.is_file():
                    return self._read(path, relative=not file.is_absolute())
        return None

    def _read(self, path: Path, *, relative: bool) -> Source | None:
        if is_installed(path):
            return None
        shown = Path(os.path.relpath(path)) if relative else path
        if shown not in self._sources:
            self._sources[shown] = _parsed(shown)
        return self._sources[shown]


def is_installed(path: Path) -> bool:
    """Return whether a file belongs to the standard library or an installed package, not to the user."""
    return any(path.is_relative_to(folder) for folder in _INSTALLED)


def _parsed(path: Path) -> Source | None:
    try:
        with path.open(encoding="utf-8-sig") as file:
            return Source(file.read(), str(path))
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
