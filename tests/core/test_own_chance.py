"""The engine draws from generators of its own: its threads do not disturb an application that seeds `random`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGINE = [
    path
    for path in sorted([*ROOT.glob("replay/**/*.py"), *ROOT.glob("backends/**/*.py")])
    if path.relative_to(ROOT).parts[:2] not in (("replay", "testing"), ("replay", "cli"), ("replay", "backends"))
]


def global_draws(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each use of the global generator: functions of `random` that are not its classes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name[0].islower():
                yield node.lineno, name
            case ast.ImportFrom(module="random", names=names):
                yield from ((node.lineno, each.name) for each in names if each.name[0].islower())
            case _:
                pass


def test_no_module_of_the_engine_draws_from_the_global_generator() -> None:
    assert len(ENGINE) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: random.{name}"
        for path in ENGINE
        for line, name in global_draws(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["import random\nrandom.uniform(1, 2)", "\nfrom random import choice, Random"])
def test_a_global_draw_would_be_found(text: str) -> None:
    assert [line for line, _ in global_draws(text)] == [2]
    assert not list(global_draws("import random\nrandom.Random(1).uniform(1, 2)\nrandom.SystemRandom()"))
