"""Prose that reads at once: summaries name their subject, and lines of documentation stay short."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted([*ROOT.glob("replay/**/*.py"), *ROOT.glob("backends/**/*.py"), *ROOT.glob("benchmarks/*.py")])
QUESTION = re.compile(r"(What|Who|Whose|Which|Where|How|Have|Of|That)\b")
"""First words after which a reader has to guess the subject."""

LONGEST = 300
"""Characters of a line of Markdown."""


def vague(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, of code or after a constant, that begins with a question word."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if QUESTION.match(text.strip()):
                yield node.lineno, text.strip().splitlines()[0]
            case _:
                pass


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def test_no_summary_begins_with_a_question_word() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in MODULES
        for line, text in vague(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("word", ["What", "Who", "Whose", "Which", "Where", "How", "Have", "Of", "That"])
def test_a_question_word_would_be_found(word: str) -> None:
    source = f'"""{word} it is."""\nLIMIT = 3\n"""{word} much."""\ndef f():\n    """{word} it does."""\n'
    assert [line for line, _ in vague(source)] == [1, 3, 5]
    assert not list(vague('"""Whatever follows, Offsets, Haven."""'))


def test_no_line_of_the_documentation_is_too_long_to_read() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} characters"
        for path in tracked("*.md")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert not found, "\n".join(found)
